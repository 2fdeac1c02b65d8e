// Vectors of AVX2: what has no words in the compiler's own vector types, under the same names in each simd_*.h.
#pragma once

#include "floats.h"

namespace gact::GACT_TARGET {

constexpr int64_t kLanes = 8;
typedef float Floats __attribute__((vector_size(32)));
typedef uint32_t Words __attribute__((vector_size(32)));

GACT_INLINE Floats load_floats(const float* x) { return _mm256_loadu_ps(x); }

GACT_INLINE Floats load_floats(const BFloat16* x) {
  const __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
}

GACT_INLINE Floats load_floats(const Float16* x) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
}

GACT_INLINE Words load_words(const uint32_t* x) {
  return (Words)_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
}

GACT_INLINE Floats least(Floats a, Floats b) { return _mm256_min_ps(a, b); }
GACT_INLINE Floats greatest(Floats a, Floats b) { return _mm256_max_ps(a, b); }
GACT_INLINE bool any_nan(Floats a) { return _mm256_movemask_ps(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)) != 0; }
GACT_INLINE Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }

GACT_INLINE float least(Floats a) {
  __m128 four = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  four = _mm_min_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_min_ss(four, _mm_movehdup_ps(four)));
}

GACT_INLINE float greatest(Floats a) { return -least(-a); }

// Round half to even.
GACT_INLINE Words round_to_words(Floats a) { return (Words)_mm256_cvtps_epi32(a); }

// To the finite numbers of a dtype; NaN stays NaN.
template <class T>
GACT_INLINE Floats clamp_to(Floats a) {
  return a;
}
template <>
GACT_INLINE Floats clamp_to<Float16>(Floats a) {
  const Floats largest = _mm256_set1_ps(65504.0f);
  return least(largest, greatest(-largest, a));
}

GACT_INLINE Words exclusive_or(Words a, Words b, Words c) { return a ^ b ^ c; }

// Bits of a where the mask is 1, of b where it is 0.
GACT_INLINE Words select(Words mask, Words a, Words b) { return (mask & a) | (~mask & b); }

// The entry of a table of four that the lowest two bits of each word name.
GACT_INLINE Floats look_up(const float* four, Words place) {
  return _mm256_permutevar8x32_ps(_mm256_broadcast_ps(reinterpret_cast<const __m128*>(four)), (__m256i)place);
}

// The lower bytes of four vectors one after the other, each at most `top`; words up to 2^15 count as 255.
GACT_INLINE void store_bytes(uint8_t* out, Words a, Words b, Words c, Words d, uint8_t top) {
  const __m256i ab = _mm256_packus_epi32((__m256i)a, (__m256i)b);
  const __m256i cd = _mm256_packus_epi32((__m256i)c, (__m256i)d);
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m256i bytes = _mm256_min_epu8(_mm256_packus_epi16(ab, cd), _mm256_set1_epi8(static_cast<char>(top)));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permutevar8x32_epi32(bytes, order));
}

GACT_INLINE Words load_bytes(const uint8_t* bytes) {
  return (Words)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
}

// The number in every lane.
GACT_INLINE Floats all(float a) { return _mm256_set1_ps(a); }

// Each lane whose byte is 1, and +0 where it is 0.
GACT_INLINE Floats where(const uint8_t* bytes, Floats a) {
  return (Floats)((Words)a & (Words{} - load_bytes(bytes)));
}

GACT_INLINE Floats to_floats(Words a) { return _mm256_cvtepi32_ps((__m256i)a); }

// Streaming goes past the caches, to addresses that are multiples of the vector's size; fence() makes it visible to
// other threads.
template <bool kStream>
GACT_INLINE void put(void* out, __m256i a) {
  kStream ? _mm256_stream_si256(static_cast<__m256i*>(out), a) : _mm256_storeu_si256(static_cast<__m256i*>(out), a);
}
template <bool kStream>
GACT_INLINE void put(void* out, __m128i a) {
  kStream ? _mm_stream_si128(static_cast<__m128i*>(out), a) : _mm_storeu_si128(static_cast<__m128i*>(out), a);
}
GACT_INLINE void fence() { _mm_sfence(); }

// Numbers to a dtype, round half to even.
template <bool kStream>
GACT_INLINE void store_floats(float* out, Floats a) {
  put<kStream>(out, (__m256i)a);
}

template <bool kStream>
GACT_INLINE void store_floats(double* out, Floats a) {
  put<kStream>(out, (__m256i)_mm256_cvtps_pd(_mm256_castps256_ps128(a)));
  put<kStream>(out + 4, (__m256i)_mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)));
}

// Rounded words whose lower halves are bfloat16, if the number is not NaN.
GACT_INLINE Words round_to_bfloat16(Floats a) {
  const Words bits = (Words)a;
  return (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
}

GACT_INLINE __m128i lower_halves(__m256i words) {
  return _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

template <bool kStream>
GACT_INLINE void store_floats(BFloat16* out, Floats a) {
  const __m256 nan = _mm256_cmp_ps(a, a, _CMP_UNORD_Q);
  const __m256 words = _mm256_blendv_ps((__m256)round_to_bfloat16(a), (__m256)_mm256_set1_epi32(0x7FC0), nan);
  put<kStream>(out, lower_halves((__m256i)words));
}

template <bool kStream>
GACT_INLINE void store_floats(Float16* out, Floats a) {
  put<kStream>(out, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

// The same for numbers that are not NaN.
template <bool kStream, class T>
GACT_INLINE void store_numbers(T* out, Floats a) {
  store_floats<kStream>(out, a);
}

template <bool kStream>
GACT_INLINE void store_numbers(BFloat16* out, Floats a) {
  put<kStream>(out, lower_halves((__m256i)round_to_bfloat16(a)));
}

}  // namespace gact::GACT_TARGET
