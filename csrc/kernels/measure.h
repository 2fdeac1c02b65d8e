// The extremes of a group. See docs/codes.md, "Groups".
#pragma once

#include "metadata.h"

#ifdef GACT_SIMD
#include GACT_SIMD
#endif

namespace gact::GACT_TARGET {

// As integers in the order of the reals, where NaN lies beyond the infinities.
template <class T>
inline auto measure(const T* GACT_RESTRICT x, int64_t length) {
  using Integer = typename SignedBits<T>::Integer;
  Integer lowest = ordered(bit_cast<Integer>(x[0]));
  Integer highest = lowest;
  for (int64_t i = 0; i < length; ++i) {
    const Integer value = ordered(bit_cast<Integer>(x[i]));
    lowest = value < lowest ? value : lowest;
    highest = value > highest ? value : highest;
  }
  using Real = typename Arithmetic<T>::Real;
  return Extremes<Real>{to_real(bit_cast<T>(ordered(lowest))), to_real(bit_cast<T>(ordered(highest)))};
}

#ifdef GACT_SIMD
// As floats, whose minimum and maximum ignore NaN. The sum of differences of neighbours tells of it: it is NaN if an
// element is. It is also NaN in some groups with infinities or of magnitudes that sum to infinity; those are poisoned
// in any case.
inline Extremes<float> measure(const float* GACT_RESTRICT x, int64_t length) {
  if (length % (4 * kLanes) != 0) return measure<float>(x, length);
  Floats smallest = load_floats(x);
  Floats largest = smallest;
  Floats differences = smallest - smallest;
  for (int64_t i = 0; i < length; i += 4 * kLanes) {
    const Floats a = load_floats(x + i);
    const Floats b = load_floats(x + i + kLanes);
    const Floats c = load_floats(x + i + 2 * kLanes);
    const Floats d = load_floats(x + i + 3 * kLanes);
    smallest = least(smallest, least(least(a, b), least(c, d)));
    largest = greatest(largest, greatest(greatest(a, b), greatest(c, d)));
    differences += (a - b) + (c - d);
  }
  return {least(smallest), any_nan(differences) ? NAN : greatest(largest)};
}
#endif

}  // namespace gact::GACT_TARGET
