// Vectors of AVX512: what has no words in the compiler's own vector types, under the same names in each simd_*.h.
#pragma once

#include "floats.h"

namespace gact::GACT_TARGET {

constexpr int64_t kLanes = 16;
typedef float Floats __attribute__((vector_size(64)));
typedef uint32_t Words __attribute__((vector_size(64)));

GACT_INLINE Floats load_floats(const float* x) { return _mm512_loadu_ps(x); }

GACT_INLINE Floats load_floats(const BFloat16* x) {
  const __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}

GACT_INLINE Floats load_floats(const Float16* x) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
}

GACT_INLINE Words load_words(const uint32_t* x) { return (Words)_mm512_loadu_si512(x); }

GACT_INLINE Floats least(Floats a, Floats b) { return _mm512_min_ps(a, b); }
GACT_INLINE Floats greatest(Floats a, Floats b) { return _mm512_max_ps(a, b); }
GACT_INLINE float least(Floats a) { return _mm512_reduce_min_ps(a); }
GACT_INLINE float greatest(Floats a) { return _mm512_reduce_max_ps(a); }
GACT_INLINE bool any_nan(Floats a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q) != 0; }
GACT_INLINE Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }

// Round half to even.
GACT_INLINE Words round_to_words(Floats a) { return (Words)_mm512_cvtps_epi32(a); }

// To the finite numbers of a dtype; NaN stays NaN.
template <class T>
GACT_INLINE Floats clamp_to(Floats a) {
  return a;
}
template <>
GACT_INLINE Floats clamp_to<Float16>(Floats a) {
  const Floats largest = _mm512_set1_ps(65504.0f);
  return least(largest, greatest(-largest, a));
}

GACT_INLINE Words exclusive_or(Words a, Words b, Words c) {
  return (Words)_mm512_ternarylogic_epi32((__m512i)a, (__m512i)b, (__m512i)c, 0x96);
}

// Bits of a where the mask is 1, of b where it is 0.
GACT_INLINE Words select(Words mask, Words a, Words b) {
  return (Words)_mm512_ternarylogic_epi32((__m512i)mask, (__m512i)a, (__m512i)b, 0xCA);
}

// The entry of a table of four that the lowest two bits of each word name.
GACT_INLINE Floats look_up(const float* four, Words place) {
  return _mm512_permutexvar_ps((__m512i)place, _mm512_broadcast_f32x4(_mm_loadu_ps(four)));
}

// The lower bytes of four vectors one after the other, each at most `top`; words up to 2^15 count as 255.
GACT_INLINE void store_bytes(uint8_t* out, Words a, Words b, Words c, Words d, uint8_t top) {
  const __m512i ab = _mm512_packus_epi32((__m512i)a, (__m512i)b);
  const __m512i cd = _mm512_packus_epi32((__m512i)c, (__m512i)d);
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i bytes = _mm512_min_epu8(_mm512_packus_epi16(ab, cd), _mm512_set1_epi8(static_cast<char>(top)));
  _mm512_storeu_si512(out, _mm512_permutexvar_epi32(order, bytes));
}

GACT_INLINE Words load_bytes(const uint8_t* bytes) {
  return (Words)_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
}

// The number in every lane.
GACT_INLINE Floats all(float a) { return _mm512_set1_ps(a); }

// Each lane whose byte is 1, and +0 where it is 0.
GACT_INLINE Floats where(const uint8_t* bytes, Floats a) {
  const __m128i flags = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
  return _mm512_maskz_mov_ps(_mm_test_epi8_mask(flags, flags), a);
}

GACT_INLINE Floats to_floats(Words a) { return _mm512_cvtepi32_ps((__m512i)a); }

// Streaming goes past the caches, to addresses that are multiples of the vector's size; fence() makes it visible to
// other threads.
template <bool kStream>
GACT_INLINE void put(void* out, __m512i a) {
  kStream ? _mm512_stream_si512(static_cast<__m512i*>(out), a) : _mm512_storeu_si512(out, a);
}
template <bool kStream>
GACT_INLINE void put(void* out, __m256i a) {
  kStream ? _mm256_stream_si256(static_cast<__m256i*>(out), a) : _mm256_storeu_si256(static_cast<__m256i*>(out), a);
}
GACT_INLINE void fence() { _mm_sfence(); }

// Numbers to a dtype, round half to even.
template <bool kStream>
GACT_INLINE void store_floats(float* out, Floats a) {
  put<kStream>(out, (__m512i)a);
}

template <bool kStream>
GACT_INLINE void store_floats(double* out, Floats a) {
  put<kStream>(out, (__m512i)_mm512_cvtps_pd(_mm512_castps512_ps256(a)));
  put<kStream>(out + 8, (__m512i)_mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)));
}

// Rounded words whose lower halves are bfloat16, if the number is not NaN.
GACT_INLINE Words round_to_bfloat16(Floats a) {
  const Words bits = (Words)a;
  return (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
}

template <bool kStream>
GACT_INLINE void store_floats(BFloat16* out, Floats a) {
  const __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
  put<kStream>(out, _mm512_cvtepi32_epi16(_mm512_mask_set1_epi32((__m512i)round_to_bfloat16(a), nan, 0x7FC0)));
}

template <bool kStream>
GACT_INLINE void store_floats(Float16* out, Floats a) {
  put<kStream>(out, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

// The same for numbers that are not NaN.
template <bool kStream, class T>
GACT_INLINE void store_numbers(T* out, Floats a) {
  store_floats<kStream>(out, a);
}

template <bool kStream>
GACT_INLINE void store_numbers(BFloat16* out, Floats a) {
  put<kStream>(out, _mm512_cvtepi32_epi16((__m512i)round_to_bfloat16(a)));
}

}  // namespace gact::GACT_TARGET
