// Codes of one byte each to elements. See docs/codes.md, "Groups".
#pragma once

#include "metadata.h"
#include "random.h"

#ifdef GACT_SIMD
#include GACT_SIMD
#endif

namespace gact::GACT_TARGET {

template <class Real, class T>
GACT_INLINE void decode_elements(const uint8_t* GACT_RESTRICT codes, int64_t length, Real minimum, Real scale,
                                 T* GACT_RESTRICT out) {
  for (int64_t i = 0; i < length; ++i) from_real(minimum + static_cast<Real>(codes[i]) * scale, out + i);
}

// A dithered code stands for the middle of the values that its shared bits leave possible: code + (3 - 2 d) / 8.
GACT_INLINE int32_t eighths(uint32_t code, uint32_t shared) {
  return static_cast<int32_t>(8 * code + 3) - static_cast<int32_t>(2 * shared);
}

template <class Real, class T>
inline void decode_dithered_elements(const uint8_t* GACT_RESTRICT codes, int64_t length, Real minimum, Real scale,
                                     const SharedBits& shared, T* GACT_RESTRICT out) {
  const Real eighth = scale * Real(0.125);
  for (int64_t i = 0; i < length; ++i)
    from_real(minimum + static_cast<Real>(eighths(codes[i], shared(i))) * eighth, out + i);
}

#ifdef GACT_SIMD
// `eighths` as a part of a code, which is exact: what the shared bits add to it.
constexpr float kMiddles[] = {0.375f, 0.125f, -0.125f, -0.375f};

// Takes vectors to memory, past the caches if kStream.
template <bool kStream, class T>
struct Store {
  T* GACT_RESTRICT out;
  GACT_INLINE void operator()(int64_t i, Floats value) const { store_numbers<kStream>(out + i, clamp_to<T>(value)); }
};

// Elements i .. i + kLanes - 1 are given to emit(i, elements); the length is a multiple of kSharedLanes.
template <class Emit>
GACT_INLINE void decode_dithered_vectors(const uint8_t* GACT_RESTRICT codes, int64_t length, float minimum, float scale,
                                         const SharedBits& shared, Emit emit) {
  constexpr int64_t kParts = kSharedLanes / kLanes;
  const Floats minimums = all(minimum);
  const Floats scales = all(scale);
  for (int64_t span = 0; span < length; span += kSharedSpan) {
    const int64_t end = length - span < kSharedSpan ? length : span + kSharedSpan;
    Words bits[kParts];
    for (int64_t p = 0; p < kParts; ++p) bits[p] = load_words(shared.at(span + p * kLanes));
    for (int64_t i = span; i < end; i += kSharedLanes) {
      for (int64_t p = 0; p < kParts; ++p) {
        const int64_t at = i + p * kLanes;
        const Floats steps = to_floats(load_bytes(codes + at)) + look_up(kMiddles, bits[p]);
        emit(at, multiply_add(steps, scales, minimums));
        bits[p] = bits[p] >> 2;
      }
    }
  }
}

template <class Emit>
GACT_INLINE void decode_vectors(const uint8_t* GACT_RESTRICT codes, int64_t length, float minimum, float scale,
                                Emit emit) {
  const Floats minimums = all(minimum);
  const Floats scales = all(scale);
  for (int64_t i = 0; i < length; i += kLanes)
    emit(i, multiply_add(to_floats(load_bytes(codes + i)), scales, minimums));
}
#endif

// Writes past the caches if `stream` and the instruction set has the means.
template <class Real, class T>
inline void decode_group(const uint8_t* codes, int64_t length, Real minimum, Real scale, bool stream, T* out) {
#ifdef GACT_SIMD
  // A poisoned group goes the other way: the vectors are for numbers.
  if constexpr (sizeof(Real) == sizeof(float)) {
    if (length % kLanes == 0 && minimum * 0 + scale * 0 == 0) {
      stream ? decode_vectors(codes, length, minimum, scale, Store<true, T>{out})
             : decode_vectors(codes, length, minimum, scale, Store<false, T>{out});
      return;
    }
  }
#endif
  decode_elements(codes, length, minimum, scale, out);
}

template <class Real, class T>
inline void decode_dithered_group(const uint8_t* codes, int64_t length, Real minimum, Real scale, Key key, bool stream,
                                  T* out) {
  const SharedBits shared(key, length);
#ifdef GACT_SIMD
  if constexpr (sizeof(Real) == sizeof(float)) {
    if (length % kSharedLanes == 0) {
      if (stream) {
        decode_dithered_vectors(codes, length, minimum, scale, shared, Store<true, T>{out});
      } else if (length == kUsualGroup) {
        decode_dithered_vectors(codes, kUsualGroup, minimum, scale, shared, Store<false, T>{out});
      } else {
        decode_dithered_vectors(codes, length, minimum, scale, shared, Store<false, T>{out});
      }
      return;
    }
  }
#endif
  decode_dithered_elements(codes, length, minimum, scale, shared, out);
}

template <class Real, class T>
inline void fill(T* out, int64_t length, Real value) {
  T element;
  from_real(value, &element);
  for (int64_t i = 0; i < length; ++i) out[i] = element;
}

}  // namespace gact::GACT_TARGET
