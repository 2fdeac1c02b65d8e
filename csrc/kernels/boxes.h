// Rows of elements and the figures of their boxes, one for each element. What rows are a box is csrc/boxes.h's.
#pragma once

#include "floats.h"
#include "measure.h"
#include "table.h"

namespace gact::GACT_TARGET {

// Two roundings each.
template <class T>
void narrow_row(const void* input, int64_t length, const float* GACT_RESTRICT least, const float* GACT_RESTRICT inverse,
                float* GACT_RESTRICT out) {
  const T* GACT_RESTRICT x = static_cast<const T*>(input);
  for (int64_t i = 0; i < length; ++i) out[i] = (to_real(x[i]) - least[i]) * inverse[i];
}

inline void restore_row(float* GACT_RESTRICT x, int64_t length, const float* GACT_RESTRICT width,
                        const float* GACT_RESTRICT least) {
  for (int64_t i = 0; i < length; ++i) x[i] = x[i] * width[i] + least[i];
}

GACT_INLINE float lower(float value, float least) { return value < least ? value : least; }
GACT_INLINE float higher(float value, float most) { return value > most ? value : most; }

// Halves with halves, so that it takes few steps.
GACT_INLINE float sum_of(float* lanes) {
  for (int left = kSumLanes / 2; left > 0; left /= 2) {
    for (int k = 0; k < left; ++k) lanes[k] += lanes[k + left];
  }
  return lanes[0];
}

// Widens boxes to a row of elements; returns the sum of their squares.
template <class T>
float widen_row(const void* input, int64_t length, float* GACT_RESTRICT low, float* GACT_RESTRICT high) {
  const T* GACT_RESTRICT x = static_cast<const T*>(input);
  float lanes[kSumLanes] = {};
  int64_t i = 0;
  for (; i + kSumLanes <= length; i += kSumLanes) {
    for (int k = 0; k < kSumLanes; ++k) {
      const float value = to_real(x[i + k]);
      low[i + k] = lower(value, low[i + k]);
      high[i + k] = higher(value, high[i + k]);
      lanes[k] += value * value;
    }
  }
  for (; i < length; ++i) {
    const float value = to_real(x[i]);
    low[i] = lower(value, low[i]);
    high[i] = higher(value, high[i]);
    lanes[0] += value * value;
  }
  return sum_of(lanes);
}

// The squares of the first, each times that of the second if there is one.
template <bool kSloped>
GACT_INLINE float sum_squares(const float* GACT_RESTRICT x, const float* GACT_RESTRICT slope, int64_t length) {
  float lanes[kSumLanes] = {};
  int64_t i = 0;
  for (; i + kSumLanes <= length; i += kSumLanes) {
    for (int k = 0; k < kSumLanes; ++k) {
      const float value = kSloped ? x[i + k] * slope[i + k] : x[i + k];
      lanes[k] += value * value;
    }
  }
  for (; i < length; ++i) {
    const float value = kSloped ? x[i] * slope[i] : x[i];
    lanes[0] += value * value;
  }
  return sum_of(lanes);
}

GACT_INLINE float sum_inverse_squares(const float* slope, int64_t length) {
  float lanes[kSumLanes] = {};
  int64_t i = 0;
  for (; i + kSumLanes <= length; i += kSumLanes) {
    for (int k = 0; k < kSumLanes; ++k) lanes[k] += 1.0f / (slope[i + k] * slope[i + k]);
  }
  for (; i < length; ++i) lanes[0] += 1.0f / (slope[i] * slope[i]);
  return sum_of(lanes);
}

// Least and greatest of runs of so many elements; NaN if one is NaN.
template <class T>
void measure_runs(const void* input, int64_t length, float* low, float* high, int64_t begin, int64_t end) {
  const T* x = static_cast<const T*>(input);
  for (int64_t run = begin; run < end; ++run) {
    const auto found = measure(x + run * length, length);
    low[run] = found.largest == found.largest ? found.smallest : found.largest;
    high[run] = found.largest;
  }
}

// Sums over the elements of a group, of which each has the range of its box and, unless that is null, a slope.
inline BoxSums sum_group(const float* width, const float* x, const float* slope, int64_t length) {
  const auto found = measure(x, length);
  BoxSums sums{sum_squares<false>(width, nullptr, length), 0, 0, found.largest - found.smallest};
  if (slope != nullptr) {
    sums.scaled = sum_squares<true>(width, slope, length);
    sums.inverse = sum_inverse_squares(slope, length);
  }
  return sums;
}

}  // namespace gact::GACT_TARGET
