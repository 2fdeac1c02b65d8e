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

template <bool kStream, class T>
GACT_INLINE void decode_dithered_vectors(const uint8_t* GACT_RESTRICT codes, int64_t length, float minimum, float scale,
                                         const SharedBits& shared, T* GACT_RESTRICT out) {
  const Floats minimums = Floats{} + minimum;
  const Floats scales = Floats{} + scale;
  for (int64_t i = 0; i < length; i += kLanes) {
    const Floats middle = look_up(kMiddles, load_words(shared.at(i)) >> SharedBits::shift(i));
    const Floats steps = to_floats(load_bytes(codes + i)) + middle;
    store_numbers<kStream>(out + i, clamp_to<T>(multiply_add(steps, scales, minimums)));
  }
}

template <bool kStream, class T>
GACT_INLINE void decode_vectors(const uint8_t* GACT_RESTRICT codes, int64_t length, float minimum, float scale,
                                T* GACT_RESTRICT out) {
  const Floats minimums = Floats{} + minimum;
  const Floats scales = Floats{} + scale;
  for (int64_t i = 0; i < length; i += kLanes) {
    store_numbers<kStream>(out + i, clamp_to<T>(multiply_add(to_floats(load_bytes(codes + i)), scales, minimums)));
  }
}
#endif

// Writes past the caches if `stream` and the instruction set has the means.
template <class Real, class T>
inline void decode_group(const uint8_t* codes, int64_t length, Real minimum, Real scale, bool stream, T* out) {
#ifdef GACT_SIMD
  // A poisoned group goes the other way: the vectors are for numbers.
  if constexpr (sizeof(Real) == sizeof(float)) {
    if (length % kLanes == 0 && minimum * 0 + scale * 0 == 0) {
      stream ? decode_vectors<true>(codes, length, minimum, scale, out)
             : decode_vectors<false>(codes, length, minimum, scale, out);
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
    if (length % kLanes == 0) {
      if (stream) {
        decode_dithered_vectors<true>(codes, length, minimum, scale, shared, out);
      } else if (length == kUsualGroup) {
        decode_dithered_vectors<false>(codes, kUsualGroup, minimum, scale, shared, out);
      } else {
        decode_dithered_vectors<false>(codes, length, minimum, scale, shared, out);
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
