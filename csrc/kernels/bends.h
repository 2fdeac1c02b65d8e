// Elements moved along a hyperbola. See docs/codes.md, "Bends".
#pragma once

#include "floats.h"
#include "table.h"

namespace gact::GACT_TARGET {

GACT_INLINE float square_root(float value) { return __builtin_sqrtf(value); }
GACT_INLINE double square_root(double value) { return __builtin_sqrt(value); }

// Elements begin .. end - 1, to the dtype of their arithmetic; in place if output is input.
template <class T>
void bend(const void* input, Bend how, void* output, int64_t begin, int64_t end) {
  using Real = typename Arithmetic<T>::Real;
  const auto before = static_cast<Real>(how.before);
  const auto square = static_cast<Real>(how.square);
  const auto weight = static_cast<Real>(how.weight);
  const auto after = static_cast<Real>(how.after);
  const T* x = static_cast<const T*>(input);
  Real* out = static_cast<Real*>(output);
#if defined(__clang__)
#pragma clang loop vectorize(assume_safety)
#else
#pragma GCC ivdep
#endif
  for (int64_t i = begin; i < end; ++i) {
    const Real distance = to_real(x[i]) - before;
    const Real root = square_root(distance * distance + square);
    out[i] = (distance + weight * (root - distance)) + after;
  }
}

}  // namespace gact::GACT_TARGET
