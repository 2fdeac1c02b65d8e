// Channels that are very different in size: their means and deviations, from some of the rows, and what it would gain to
// code each in its own. What is found is specified by its twin of plain torch in src/gact/ops/columns.py.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <mutex>
#include <numeric>
#include <vector>

#include "bindings.h"

#define GACT_TARGET columns
#include "kernels/floats.h"

namespace gact {
namespace {

using columns::BFloat16;
using columns::Float16;
using columns::to_real;

using Row = std::vector<float>;

// How a region is looked at: its rows of `length` channels, `times` of which are one row of the sample.
struct Look {
  int64_t numel, length, times, group_size, glance, rows;
  double promising, sparse, floor, reach;

  int64_t width() const { return length * times; }
  int64_t frames() const { return numel / width(); }
  int64_t groups() const { return (width() + group_size - 1) / group_size; }
  // Where a group begins: the last one has some elements of the one before.
  int64_t start(int64_t group) const { return std::min(group * group_size, width() - group_size); }
};

// So many rows, a golden section of all from one to the next.
template <class T>
Row sample_of(const T* x, const Look& look, int64_t count) {
  const int64_t frames = look.frames();
  const int64_t width = look.width();
  count = std::min(count, frames);
  int64_t step = std::max<int64_t>(static_cast<int64_t>(static_cast<double>(frames) * 0.618), 1);
  while (std::gcd(step, frames) > 1) ++step;
  Row sample(count * width);
  for (int64_t number = 0; number < count; ++number) {
    const T* from = x + number * step % frames * width;
    float* to = sample.data() + number * width;
    for (int64_t i = 0; i < width; ++i) to[i] = static_cast<float>(to_real(from[i]));
  }
  return sample;
}

void measure(const float* sample, int64_t rows, int64_t length, Row& variance, Row& mean) {
  mean.assign(length, 0.0f);
  variance.assign(length, 0.0f);
  for (int64_t row = 0; row < rows; ++row) {
    const float* x = sample + row * length;
    for (int64_t i = 0; i < length; ++i) mean[i] += x[i];
  }
  for (float& each : mean) each /= static_cast<float>(rows);
  for (int64_t row = 0; row < rows; ++row) {
    const float* x = sample + row * length;
    for (int64_t i = 0; i < length; ++i) variance[i] += (x[i] - mean[i]) * (x[i] - mean[i]);
  }
  for (float& each : variance) each /= static_cast<float>(rows - 1);
}

constexpr int kLanes = 8;  // enough for the compiler to keep extremes in vectors

float range_of(const float* x, int64_t length) {
  float low[kLanes], high[kLanes];
  std::copy(x, x + kLanes, low);
  std::copy(x, x + kLanes, high);
  for (int64_t i = kLanes; i < length; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) {
      const float value = x[i + k];
      low[k] = value < low[k] ? value : low[k];
      high[k] = value > high[k] ? value : high[k];
    }
  }
  return *std::max_element(high, high + kLanes) - *std::min_element(low, low + kLanes);
}

// Mean over rows of the squared range of each group.
std::vector<double> squared_ranges(const float* sample, int64_t rows, const Look& look) {
  std::vector<double> ranges(look.groups(), 0.0);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t group = 0; group < look.groups(); ++group) {
      const double range = range_of(sample + row * look.width() + look.start(group), look.group_size);
      ranges[group] += range * range;
    }
  }
  for (double& each : ranges) each /= static_cast<double>(rows);
  return ranges;
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

bool is_promising(const Row& sample, int64_t rows, const Look& look) {
  Row variance, mean;
  measure(sample.data(), rows * look.times, look.length, variance, mean);
  const double channels = std::accumulate(variance.begin(), variance.end(), 0.0) / static_cast<double>(look.length);
  return mean_of(squared_ranges(sample.data(), rows, look)) > look.promising * channels;
}

// Whether most values of the channels that have others are zeros.
bool are_sparse(const float* sample, int64_t rows, const Row& variance, const Look& look) {
  int64_t zeros = 0;
  int64_t varied = 0;
  std::vector<int32_t> counts(look.length, 0);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < look.length; ++i) counts[i] += sample[row * look.length + i] == 0.0f;
  }
  for (int64_t i = 0; i < look.length; ++i) {
    if (variance[i] > 0) {
      zeros += counts[i];
      ++varied;
    }
  }
  return static_cast<double>(zeros) > look.sparse * static_cast<double>(rows) * static_cast<double>(varied);
}

// The mean variance of the group of each channel of a row.
std::vector<double> typical(const Row& variance, const Look& look) {
  std::vector<double> means(look.groups(), 0.0);
  for (int64_t group = 0; group < look.groups(); ++group) {
    for (int64_t i = 0; i < look.group_size; ++i) means[group] += variance[(look.start(group) + i) % look.length];
    means[group] /= static_cast<double>(look.group_size);
  }
  return means;
}

// The extremes of some rows, joined with those that are there.
template <class T>
void extremes(const T* x, int64_t rows, Row& low, Row& high) {
  const auto length = static_cast<int64_t>(low.size());
  for (int64_t row = 0; row < rows; ++row, x += length) {
    for (int64_t i = 0; i < length; ++i) {
      const auto value = static_cast<float>(to_real(x[i]));
      low[i] = value < low[i] ? value : low[i];
      high[i] = value > high[i] ? value : high[i];
    }
  }
}

// No channel counts as smaller than what brings its farthest value near enough.
template <class T>
void widen(const T* x, const Look& look, const Row& mean, float* deviation) {
  Row low(mean);
  Row high(mean);
  std::mutex mutex;
  const int64_t grain = std::max<int64_t>(kElementsPerTask / look.length, 1);
  torch::stable::parallel_for(0, look.numel / look.length, grain, [&](int64_t begin, int64_t end) {
    Row least(mean);
    Row most(mean);
    extremes(x + begin * look.length, end - begin, least, most);
    std::lock_guard<std::mutex> guard(mutex);
    for (int64_t i = 0; i < look.length; ++i) {
      low[i] = std::min(low[i], least[i]);
      high[i] = std::max(high[i], most[i]);
    }
  });
  for (int64_t i = 0; i < look.length; ++i) {
    const float farthest = std::max(high[i] - mean[i], mean[i] - low[i]);
    deviation[i] = std::max(deviation[i], farthest / static_cast<float>(look.reach));
  }
}

bool are_sane(const float* deviation, const Row& mean) {
  for (size_t i = 0; i < mean.size(); ++i) {
    if (!(deviation[i] > 1e-30f && deviation[i] < 1e30f) || !std::isfinite(mean[i])) return false;
  }
  return true;
}

// How many times less noise channels have, each against its own size; and which share of that of all is left.
void gains(Row others, int64_t rows, const Look& look, const Row& mean, const float* deviation, double* found) {
  const auto plain = squared_ranges(others.data(), rows, look);
  Row variance(look.length);
  for (int64_t i = 0; i < look.length; ++i) variance[i] = deviation[i] * deviation[i];
  double alone = 0;
  double together = 0;
  for (int64_t group = 0; group < look.groups(); ++group) {
    for (int64_t i = 0; i < look.group_size; ++i) {
      alone += std::min(plain[group] / variance[(look.start(group) + i) % look.length], 1e6);
    }
  }
  alone /= static_cast<double>(look.groups() * look.group_size);
  for (int64_t row = 0; row < rows * look.times; ++row) {
    float* x = others.data() + row * look.length;
    for (int64_t i = 0; i < look.length; ++i) x[i] = (x[i] - mean[i]) / deviation[i];
  }
  const auto normal = squared_ranges(others.data(), rows, look);
  const auto means = typical(variance, look);
  for (int64_t group = 0; group < look.groups(); ++group) together += normal[group] * means[group];
  found[0] = alone / mean_of(normal);
  found[1] = together / std::accumulate(plain.begin(), plain.end(), 0.0);
}

template <class T>
int look_at(const void* region, const Look& look, float* deviation, float* means, double* found) {
  const T* x = static_cast<const T*>(region);
  int64_t count = std::min(look.glance, look.frames());
  if (!is_promising(sample_of(x, look, count), count, look)) return 0;
  count = std::min(2 * look.rows, look.frames());
  Row sample = sample_of(x, look, count);
  // Rows that tell of the channels, and others that tell what it helps; a few rows tell both.
  const bool apart = count / 2 >= look.rows;
  const int64_t rows = apart ? count / 2 : count;
  Row variance, mean;
  measure(sample.data(), rows * look.times, look.length, variance, mean);
  if (are_sparse(sample.data(), rows * look.times, variance, look)) return 0;
  const auto near = typical(variance, look);
  for (int64_t i = 0; i < look.length; ++i) {
    const double least = std::sqrt(near[i / look.group_size]) * look.floor;
    deviation[i] = std::max(std::sqrt(variance[i]), static_cast<float>(least));
  }
  widen(x, look, mean, deviation);
  if (!are_sane(deviation, mean)) return 0;
  std::copy(mean.begin(), mean.end(), means);
  Row others(sample.begin() + (apart ? rows * look.width() : 0), sample.end());
  gains(std::move(others), apart ? count - rows : rows, look, mean, deviation, found);
  return 1;
}

}  // namespace
}  // namespace gact

#define GACT_EXPORT extern "C" __attribute__((visibility("default")))

// Whether there is anything to look at; if so deviations, means and the two gains are written. The dtype is 0 for float32,
// 1 for float16, 2 for bfloat16.
GACT_EXPORT int gact_look_at_columns(const void* x, int dtype, const int64_t* sizes, const double* bounds,
                                     float* deviation, float* mean, double* gains) {
  const gact::Look look{sizes[0], sizes[1],  sizes[2],  sizes[3],  sizes[4],
                        sizes[5], bounds[0], bounds[1], bounds[2], bounds[3]};
  switch (dtype) {
    case 0: return gact::look_at<float>(x, look, deviation, mean, gains);
    case 1: return gact::look_at<gact::Float16>(x, look, deviation, mean, gains);
    default: return gact::look_at<gact::BFloat16>(x, look, deviation, mean, gains);
  }
}
