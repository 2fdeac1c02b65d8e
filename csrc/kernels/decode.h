// Codes of one byte each to elements. See docs/codes.md, "Groups".
#pragma once

#include "metadata.h"

#ifdef GACT_SIMD
#include GACT_SIMD
#endif

namespace gact::GACT_TARGET {

template <class Real, class T>
GACT_INLINE void decode_elements(const uint8_t* GACT_RESTRICT codes, int64_t length, Real minimum, Real scale, T* GACT_RESTRICT out) {
  for (int64_t i = 0; i < length; ++i) from_real(minimum + static_cast<Real>(codes[i]) * scale, out + i);
}

#ifdef GACT_SIMD
template <bool kStream, class T>
GACT_INLINE void decode_vectors(const uint8_t* GACT_RESTRICT codes, int64_t length, float minimum, float scale, T* GACT_RESTRICT out) {
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
      stream ? decode_vectors<true>(codes, length, minimum, scale, out) : decode_vectors<false>(codes, length, minimum, scale, out);
      return;
    }
  }
#endif
  decode_elements(codes, length, minimum, scale, out);
}

template <class Real, class T>
inline void fill(T* out, int64_t length, Real value) {
  T element;
  from_real(value, &element);
  for (int64_t i = 0; i < length; ++i) out[i] = element;
}

}  // namespace gact::GACT_TARGET
