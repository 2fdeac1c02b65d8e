// Boxes of neighbouring rows in one channel: their extremes, and what is taken from and given to their elements.
// Specified by the twins of plain torch in src/gact/ops/boxes.py.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#define GACT_TARGET boxes
#include "kernels/floats.h"

namespace gact {
namespace {

using boxes::BFloat16;
using boxes::Float16;
using boxes::to_real;

// Rows of `channels` elements lie as a plane of `high` by `wide`, which is cut into boxes of `tall` by `broad`.
struct Grid {
  int64_t high;
  int64_t wide;
  int64_t channels;
  int64_t tall;
  int64_t broad;

  int64_t across() const { return (wide + broad - 1) / broad; }
  int64_t box_of(int64_t row) const { return row / wide / tall * across() + row % wide / broad; }
};

template <class T>
void widen(const T* GACT_RESTRICT x, int64_t length, float* GACT_RESTRICT low, float* GACT_RESTRICT high) {
  for (int64_t i = 0; i < length; ++i) {
    const float value = to_real(x[i]);
    low[i] = value < low[i] ? value : low[i];
    high[i] = value > high[i] ? value : high[i];
  }
}

template <class T>
void extremes(const T* x, const Grid& grid, float* low, float* high) {
  const int64_t count = grid.channels;
  for (int64_t row = 0; row < grid.high * grid.wide; ++row) {
    const int64_t at = grid.box_of(row) * count;
    const T* from = x + row * count;
    if (row / grid.wide % grid.tall == 0 && row % grid.wide % grid.broad == 0) {
      for (int64_t i = 0; i < count; ++i) low[at + i] = high[at + i] = to_real(from[i]);
    }
    widen(from, count, low + at, high + at);
  }
}

// Calls with the elements of each row that lie in start .. start + count - 1, and the first of their figures.
template <class Call>
void each_row(const Grid& grid, int64_t start, int64_t count, Call call) {
  for (int64_t i = 0; i < count;) {
    const int64_t row = (start + i) / grid.channels;
    const int64_t channel = (start + i) % grid.channels;
    const int64_t length = std::min(grid.channels - channel, count - i);
    call(i, length, grid.box_of(row) * grid.channels + channel);
    i += length;
  }
}

template <class T>
void narrow(const T* GACT_RESTRICT x, int64_t length, const float* GACT_RESTRICT least,
            const float* GACT_RESTRICT inverse, float* GACT_RESTRICT out) {
  for (int64_t i = 0; i < length; ++i) out[i] = (to_real(x[i]) - least[i]) * inverse[i];
}

void restore(float* GACT_RESTRICT x, int64_t length, const float* GACT_RESTRICT width,
             const float* GACT_RESTRICT least) {
  for (int64_t i = 0; i < length; ++i) x[i] = x[i] * width[i] + least[i];
}

template <class T>
void narrow_as(const void* x, const Grid& grid, int64_t start, int64_t count, const float* least, const float* inverse,
               float* out) {
  const T* from = static_cast<const T*>(x) + start;
  each_row(grid, start, count, [&](int64_t i, int64_t length, int64_t at) {
    narrow(from + i, length, least + at, inverse + at, out + i);
  });
}

constexpr int kLanes = 8;  // enough for the compiler to keep sums and extremes in vectors

// Sums and extremes over the elements of a group.
struct Sums {
  float square[kLanes] = {}, scaled[kLanes] = {}, inverse[kLanes] = {}, low[kLanes], high[kLanes];

  explicit Sums(float first) {
    std::fill(low, low + kLanes, first);
    std::fill(high, high + kLanes, first);
  }

  void add_range(int k, float value) {
    low[k] = value < low[k] ? value : low[k];
    high[k] = value > high[k] ? value : high[k];
  }

  void add(int k, float width, float value) {
    square[k] += width * width;
    add_range(k, value);
  }

  void add(int k, float width, float value, float slope) {
    const float steep = slope * slope;
    scaled[k] += width * width * steep;
    inverse[k] += 1.0f / steep;
    add(k, width, value);
  }

  void add(const float* GACT_RESTRICT width, const float* GACT_RESTRICT under, int64_t length) {
    int64_t i = 0;
    for (; i + kLanes <= length; i += kLanes) {
      for (int k = 0; k < kLanes; ++k) add(k, width[i + k], under[i + k]);
    }
    for (; i < length; ++i) add(0, width[i], under[i]);
  }

  void add(const float* GACT_RESTRICT width, const float* GACT_RESTRICT under, const float* GACT_RESTRICT slope,
           int64_t length) {
    int64_t i = 0;
    for (; i + kLanes <= length; i += kLanes) {
      for (int k = 0; k < kLanes; ++k) add(k, width[i + k], under[i + k], slope[i + k]);
    }
    for (; i < length; ++i) add(0, width[i], under[i], slope[i]);
  }

  static float sum(const float* lanes) {
    float total = 0;
    for (int k = 0; k < kLanes; ++k) total += lanes[k];
    return total;
  }

  float range() const { return *std::max_element(high, high + kLanes) - *std::min_element(low, low + kLanes); }
};

void noise(const float* widths, const float* under, const float* slopes, const Grid& grid, int64_t groups,
           int64_t group_size, float* out) {
  const auto size = static_cast<float>(group_size);
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t start = group * group_size;
    Sums sums(under[start]);
    each_row(grid, start, group_size, [&](int64_t i, int64_t length, int64_t at) {
      if (slopes == nullptr) sums.add(widths + at, under + start + i, length);
      else sums.add(widths + at, under + start + i, slopes + start + i, length);
    });
    const float range = sums.range() * sums.range();
    const float boxes = Sums::sum(sums.square) / size;
    out[group] = slopes == nullptr ? boxes : Sums::sum(sums.scaled) / size;
    out[groups + group] = range;
    out[2 * groups + group] = boxes;
    out[3 * groups + group] = slopes == nullptr ? range : range * (Sums::sum(sums.inverse) / size);
  }
}

// Extremes as above; and the least energy of a row of every box, and the mean over all rows.
template <class T>
float widen_and_sum(const T* GACT_RESTRICT x, int64_t length, float* GACT_RESTRICT low, float* GACT_RESTRICT high) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= length; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) {
      const float value = to_real(x[i + k]);
      low[i + k] = value < low[i + k] ? value : low[i + k];
      high[i + k] = value > high[i + k] ? value : high[i + k];
      lanes[k] += value * value;
    }
  }
  widen(x + i, length - i, low + i, high + i);
  for (; i < length; ++i) lanes[0] += to_real(x[i]) * to_real(x[i]);
  return Sums::sum(lanes);
}

template <class T>
float look_at(const T* x, const Grid& grid, float* low, float* high, float* least) {
  const int64_t rows = grid.high * grid.wide;
  const int64_t count = grid.channels;
  double total = 0;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t box = grid.box_of(row);
    const T* from = x + row * count;
    const bool is_first = row / grid.wide % grid.tall == 0 && row % grid.wide % grid.broad == 0;
    if (is_first) {
      for (int64_t i = 0; i < count; ++i) low[box * count + i] = high[box * count + i] = to_real(from[i]);
    }
    const float energy = widen_and_sum(from, count, low + box * count, high + box * count);
    if (is_first || energy < least[box] || energy != energy) least[box] = energy;
    total += energy;
  }
  return static_cast<float>(total / static_cast<double>(rows));
}

// Mean square of the widths of boxes against the middle one of their channel, as bounds in steps make it.
float unevenness(const float* widths, const float* step, int64_t boxes, int64_t channels) {
  std::vector<float> column(boxes);
  double total = 0;
  for (int64_t channel = 0; channel < channels; ++channel) {
    if (!std::isfinite(step[channel])) return NAN;
    for (int64_t box = 0; box < boxes; ++box) column[box] = widths[box * channels + channel];
    const auto at = column.begin() + (boxes - 1) / 2;
    std::nth_element(column.begin(), at, column.end());
    float middle = std::max(*at, step[channel]);
    if (!(middle > 0)) middle = 1;
    double squares = 0;
    for (const float width : column) squares += static_cast<double>(width / middle) * (width / middle);
    const double coarse = 2.0 * step[channel] / middle + 1.0;
    total += squares / static_cast<double>(boxes) * coarse * coarse;
  }
  return static_cast<float>(total / static_cast<double>(channels));
}

}  // namespace
}  // namespace gact

#define GACT_EXPORT extern "C" __attribute__((visibility("default")))

// The dtype is 0 for float32, 1 for float16, 2 for bfloat16.
GACT_EXPORT void gact_box_extremes(const void* x, int dtype, int64_t high, int64_t wide, int64_t channels, int64_t tall,
                                   int64_t broad, float* low, float* most) {
  const gact::Grid grid{high, wide, channels, tall, broad};
  switch (dtype) {
    case 0: return gact::extremes(static_cast<const float*>(x), grid, low, most);
    case 1: return gact::extremes(static_cast<const gact::Float16*>(x), grid, low, most);
    default: return gact::extremes(static_cast<const gact::BFloat16*>(x), grid, low, most);
  }
}

GACT_EXPORT void gact_box_narrow(const void* x, int dtype, int64_t high, int64_t wide, int64_t channels, int64_t tall,
                                 int64_t broad, int64_t start, int64_t count, const float* least, const float* inverse,
                                 float* out) {
  const gact::Grid grid{high, wide, channels, tall, broad};
  switch (dtype) {
    case 0: return gact::narrow_as<float>(x, grid, start, count, least, inverse, out);
    case 1: return gact::narrow_as<gact::Float16>(x, grid, start, count, least, inverse, out);
    default: return gact::narrow_as<gact::BFloat16>(x, grid, start, count, least, inverse, out);
  }
}

GACT_EXPORT void gact_box_restore(float* x, int64_t high, int64_t wide, int64_t channels, int64_t tall, int64_t broad,
                                  int64_t start, int64_t count, const float* width, const float* least) {
  const gact::Grid grid{high, wide, channels, tall, broad};
  gact::each_row(grid, start, count, [&](int64_t i, int64_t length, int64_t at) {
    gact::restore(x + i, length, width + at, least + at);
  });
}

// Four figures of each group: see ops/boxes.py. Slopes may be missing.
GACT_EXPORT void gact_box_noise(const float* widths, const float* under, const float* slopes, int64_t high, int64_t wide,
                                int64_t channels, int64_t tall, int64_t broad, int64_t groups, int64_t group_size,
                                float* out) {
  gact::noise(widths, under, slopes, gact::Grid{high, wide, channels, tall, broad}, groups, group_size, out);
}

GACT_EXPORT float gact_box_look(const void* x, int dtype, int64_t high, int64_t wide, int64_t channels, int64_t tall,
                                int64_t broad, float* low, float* most, float* least) {
  const gact::Grid grid{high, wide, channels, tall, broad};
  switch (dtype) {
    case 0: return gact::look_at(static_cast<const float*>(x), grid, low, most, least);
    case 1: return gact::look_at(static_cast<const gact::Float16*>(x), grid, low, most, least);
    default: return gact::look_at(static_cast<const gact::BFloat16*>(x), grid, low, most, least);
  }
}

GACT_EXPORT float gact_box_unevenness(const float* widths, const float* step, int64_t boxes, int64_t channels) {
  return gact::unevenness(widths, step, boxes, channels);
}
