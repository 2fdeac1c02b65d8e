// Looks at values that decide in which form they are coded: plain functions, since what they give is no tensor.
// What each tells is specified by its twin of plain torch in src/gact/ops/looks.py.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "bindings.h"
#include "dispatch.h"

#define GACT_TARGET looks
#include "kernels/floats.h"

namespace gact {
namespace {

using looks::BFloat16;
using looks::Float16;
using looks::to_real;

constexpr int kSums = 8;  // enough for the compiler to keep them in vectors

template <class T>
double norm_of(const T* x, int64_t length) {
  using Real = typename looks::Arithmetic<T>::Real;
  Real sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= length; i += kSums) {
    for (int k = 0; k < kSums; ++k) {
      const Real value = to_real(x[i + k]);
      sums[k] += value * value;
    }
  }
  for (; i < length; ++i) sums[0] += to_real(x[i]) * to_real(x[i]);
  Real sum = 0;
  for (const Real part : sums) sum += part;
  return std::sqrt(static_cast<double>(sum));
}

// Whether among so many neighbours one is more than `factor` times another. A NaN is neither.
bool differ(const std::vector<double>& norms, int64_t touched, double factor) {
  const auto rows = static_cast<int64_t>(norms.size());
  const auto [least, most] = std::minmax_element(norms.begin(), norms.end());
  if (!(*most > factor * *least)) return false;
  for (int64_t first = 0; first + touched <= rows; ++first) {
    double low = norms[first];
    double high = low;
    for (int64_t row = first; row < first + touched; ++row) {
      low = norms[row] < low ? norms[row] : low;
      high = norms[row] > high ? norms[row] : high;
      if (std::isnan(norms[row])) low = high = NAN;
    }
    if (high > factor * low) return true;
  }
  return false;
}

template <class T>
int rows_differ(const void* x, int64_t rows, int64_t length, int64_t touched, double factor) {
  std::vector<double> norms(rows);
  torch::stable::parallel_for(0, rows, std::max<int64_t>(kElementsPerLook / length, 1), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) norms[row] = norm_of(static_cast<const T*>(x) + row * length, length);
  });
  for (const double norm : norms) {
    if (std::isnan(norm)) return 0;  // such a region is kept as it is
  }
  return differ(norms, touched, factor);
}

template <class T>
double mean_square_slope(const void* x, int64_t numel, int64_t step, double middle, double greatest) {
  double sum = 0;
  int64_t count = 0;
  for (int64_t i = 0; i < numel; i += step, ++count) {
    const double distance = static_cast<double>(to_real(static_cast<const T*>(x)[i])) - middle;
    const double slope = (greatest - distance * distance) / greatest;
    sum += slope * slope;
  }
  return sum / static_cast<double>(count);
}

}  // namespace
}  // namespace gact

// The dtype is 0 for float32, 1 for float16, 2 for bfloat16, 3 for float64.
GACT_EXPORT int gact_rows_differ(const void* x, int dtype, int64_t rows, int64_t length, int64_t touched,
                                 double factor) {
  switch (dtype) {
    case 0: return gact::rows_differ<float>(x, rows, length, touched, factor);
    case 1: return gact::rows_differ<gact::Float16>(x, rows, length, touched, factor);
    case 2: return gact::rows_differ<gact::BFloat16>(x, rows, length, touched, factor);
    default: return gact::rows_differ<double>(x, rows, length, touched, factor);
  }
}

// The dtype is 0 for float32, 1 for float16, 2 for bfloat16.
GACT_EXPORT void gact_extremes_of_runs(const void* x, int dtype, int64_t runs, int64_t length, float* low,
                                       float* high) {
  const auto kernel = gact::active_kernels().measure_runs[dtype];
  const int64_t grain = std::max<int64_t>(gact::kElementsPerLook / length, 1);
  torch::stable::parallel_for(0, runs, grain,
                              [=](int64_t begin, int64_t end) { kernel(x, length, low, high, begin, end); });
}

GACT_EXPORT double gact_mean_square_slope(const void* x, int dtype, int64_t numel, int64_t step, double middle,
                                          double greatest) {
  switch (dtype) {
    case 0: return gact::mean_square_slope<float>(x, numel, step, middle, greatest);
    case 1: return gact::mean_square_slope<gact::Float16>(x, numel, step, middle, greatest);
    case 2: return gact::mean_square_slope<gact::BFloat16>(x, numel, step, middle, greatest);
    default: return gact::mean_square_slope<double>(x, numel, step, middle, greatest);
  }
}

// 0: a deviation or a mean is no sane number. 1: groups may be coded as they are. 2: channels are to be normalised.
GACT_EXPORT int gact_channels_differ(const float* rstd, const float* mean, int64_t blocks, int64_t channels,
                                     int64_t touched, double remote, double uneven) {
  const int64_t count = blocks * channels;
  bool is_remote = false;
  for (int64_t i = 0; i < count; ++i) {
    const float middle = mean == nullptr ? 0.0f : mean[i];
    if (!(rstd[i] > 1e-37f && rstd[i] < 1e37f) || !std::isfinite(middle)) return 0;
    is_remote |= std::fabs(middle) * rstd[i] > static_cast<float>(remote);
  }
  if (is_remote) return 2;
  if (touched < 2) return 1;
  for (int64_t block = 0; block < blocks; ++block) {
    for (int64_t first = 0; first < channels; ++first) {
      float low = INFINITY;
      float high = -INFINITY;
      float narrowest = INFINITY;
      for (int64_t n = first; n < first + touched; ++n) {
        const int64_t i = block * channels + n % channels;  // behind the last channel comes the first
        const float reach = 3 / rstd[i];
        const float middle = mean == nullptr ? 0.0f : mean[i];
        low = std::min(low, middle - reach);
        high = std::max(high, middle + reach);
        narrowest = std::min(narrowest, reach);
      }
      if (high - low > static_cast<float>(2 * uneven) * narrowest) return 2;
    }
  }
  return 1;
}
