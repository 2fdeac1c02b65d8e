// Boxes of neighbouring rows in one channel: their extremes, and what is taken from and given to their elements.
// Specified by the twins of plain torch in src/gact/ops/boxes.py.
#include <algorithm>
#include <cmath>
#include <vector>

#include "boxes.h"

namespace gact {
namespace {

// A strip of boxes beside each other, of the channels from one to before another; returns the sum of the energies of its
// parts of rows, and writes the least of each box unless that is null.
double look_at(const void* x, int dtype, const Grid& grid, int64_t strip, int64_t first, int64_t last, float* low,
               float* high, float* least) {
  const auto widen = active_kernels().widen_row[dtype];
  double total = 0;
  Cursor cursor(grid, grid.first_row(strip));
  for (int64_t row = grid.first_row(strip); row < grid.first_row(strip + 1); ++row, cursor.advance()) {
    const int64_t at = cursor.box() * grid.channels + first;
    const void* from = element(x, dtype, row * grid.channels + first);
    if (cursor.begins_box()) {
      std::fill(low + at, low + at + last - first, INFINITY);
      std::fill(high + at, high + at + last - first, -INFINITY);
    }
    const float energy = widen(from, last - first, low + at, high + at);
    if (least == nullptr) continue;
    float& of_box = least[cursor.box()];
    if (cursor.begins_box() || energy < of_box || energy != energy) of_box = energy;
    total += energy;
  }
  return total;
}

constexpr int64_t kPart = 256;  // channels of a strip that one thread may take alone

void extremes(const void* x, int dtype, const Grid& grid, float* low, float* high) {
  const int64_t parts = std::max<int64_t>(grid.channels / kPart, 1);
  share(grid.strips() * parts, grid.tall * grid.wide * grid.channels / parts, [=](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t first = unit % parts * kPart;
      const int64_t last = unit % parts + 1 < parts ? first + kPart : grid.channels;
      look_at(x, dtype, grid, unit / parts, first, last, low, high, nullptr);
    }
  });
}

float look_at(const void* x, int dtype, const Grid& grid, float* low, float* high, float* least) {
  std::vector<double> totals(grid.strips());
  share(grid.strips(), grid.tall * grid.wide * grid.channels, [&](int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; ++strip) {
      totals[strip] = look_at(x, dtype, grid, strip, 0, grid.channels, low, high, least);
    }
  });
  double total = 0;
  for (const double each : totals) total += each;
  return static_cast<float>(total / static_cast<double>(grid.high * grid.wide));
}

void narrow(const void* x, int dtype, const Grid& grid, int64_t start, int64_t count, const float* least,
            const float* inverse, float* out) {
  const auto kernel = active_kernels().narrow_row[dtype];
  share(count, 1, [=](int64_t begin, int64_t end) {
    each_row(grid, start + begin, end - begin, [=](int64_t i, int64_t length, int64_t at) {
      kernel(element(x, dtype, start + begin + i), length, least + at, inverse + at, out + begin + i);
    });
  });
}

void noise(const float* widths, const float* under, const float* slopes, const Grid& grid, int64_t groups,
           int64_t group_size, float* out) {
  const auto size = static_cast<float>(group_size);
  const auto sum = active_kernels().sum_group;
  share(groups, group_size, [=](int64_t begin, int64_t end) {
    std::vector<float> buffer(group_size);
    for (int64_t group = begin; group < end; ++group) {
      const int64_t start = group * group_size;
      const float* width = buffer.data();
      each_row(grid, start, group_size, [&](int64_t i, int64_t length, int64_t at) {
        if (length == group_size) width = widths + at;
        else std::copy(widths + at, widths + at + length, buffer.data() + i);
      });
      const BoxSums sums = sum(width, under + start, slopes == nullptr ? nullptr : slopes + start, group_size);
      const float range = sums.range * sums.range;
      out[group] = (slopes == nullptr ? sums.square : sums.scaled) / size;
      out[groups + group] = range;
      out[2 * groups + group] = sums.square / size;
      out[3 * groups + group] = slopes == nullptr ? range : range * (sums.inverse / size);
    }
  });
}

// Elements as float32: those that are there, or copies of them in a buffer.
const float* as_floats(const void* x, int dtype, int64_t start, int64_t count, std::vector<float>& buffer) {
  if (dtype == 0) return static_cast<const float*>(x) + start;
  buffer.resize(count);
  const std::vector<float> zeros(kPart, 0.0f);
  const std::vector<float> ones(kPart, 1.0f);
  const auto narrow = active_kernels().narrow_row[dtype];
  for (int64_t i = 0; i < count; i += kPart) {
    narrow(element(x, dtype, start + i), std::min(kPart, count - i), zeros.data(), ones.data(), buffer.data() + i);
  }
  return buffer.data();
}

// Of the whole groups of a band of boxes: sums of the mean squared range of their boxes, of their own, of the product of
// both and of the square of their own; and how many there are.
void sample(const void* x, int dtype, const Grid& band, int64_t start, int64_t group_size, double* out) {
  const int64_t groups = band.numel() / group_size;
  std::vector<float> low(band.across() * band.channels), high(low.size()), found(4 * groups), buffer;
  look_at(element(x, dtype, start), dtype, band, 0, 0, band.channels, low.data(), high.data(), nullptr);
  for (size_t i = 0; i < high.size(); ++i) high[i] -= low[i];
  noise(high.data(), as_floats(x, dtype, start, band.numel(), buffer), nullptr, band, groups, group_size, found.data());
  for (int64_t group = 0; group < groups; ++group) {
    const double boxes = found[group];
    const double own = found[groups + group];
    out[0] += boxes;
    out[1] += own;
    out[2] += boxes * own;
    out[3] += own * own;
  }
  out[4] += static_cast<double>(groups);
}

// Mean square of the widths of a channel's boxes against the middle one, as bounds in steps make it.
double unevenness(const float* widths, float step, int64_t boxes, int64_t channels, std::vector<float>& column) {
  for (int64_t box = 0; box < boxes; ++box) column[box] = widths[box * channels];
  const auto at = column.begin() + (boxes - 1) / 2;
  std::nth_element(column.begin(), at, column.end());
  float middle = std::max(*at, step);
  if (!(middle > 0)) middle = 1;
  double squares = 0;
  for (const float width : column) squares += static_cast<double>(width / middle) * (width / middle);
  const double coarse = 2.0 * step / middle + 1.0;
  return squares / static_cast<double>(boxes) * coarse * coarse;
}

float unevenness(const float* widths, const float* step, int64_t boxes, int64_t channels) {
  for (int64_t channel = 0; channel < channels; ++channel) {
    if (!std::isfinite(step[channel])) return NAN;
  }
  std::vector<double> found(channels);
  share(channels, 8 * boxes, [&](int64_t begin, int64_t end) {  // the middle one takes some looks
    std::vector<float> column(boxes);
    for (int64_t channel = begin; channel < end; ++channel) {
      found[channel] = unevenness(widths + channel, step[channel], boxes, channels, column);
    }
  });
  double total = 0;
  for (const double each : found) total += each;
  return static_cast<float>(total / static_cast<double>(channels));
}

}  // namespace
}  // namespace gact


// The dtype is 0 for float32, 1 for float16, 2 for bfloat16.
GACT_EXPORT void gact_box_extremes(const void* x, int dtype, int64_t high, int64_t wide, int64_t channels, int64_t tall,
                                   int64_t broad, float* low, float* most) {
  gact::extremes(x, dtype, gact::Grid{high, wide, channels, tall, broad}, low, most);
}

GACT_EXPORT void gact_box_narrow(const void* x, int dtype, int64_t high, int64_t wide, int64_t channels, int64_t tall,
                                 int64_t broad, int64_t start, int64_t count, const float* least, const float* inverse,
                                 float* out) {
  gact::narrow(x, dtype, gact::Grid{high, wide, channels, tall, broad}, start, count, least, inverse, out);
}

GACT_EXPORT void gact_box_restore(float* x, int64_t high, int64_t wide, int64_t channels, int64_t tall, int64_t broad,
                                  int64_t start, int64_t count, const float* width, const float* least) {
  const gact::Grid grid{high, wide, channels, tall, broad};
  const auto kernel = gact::active_kernels().restore_row;
  gact::share(count, 1, [=](int64_t begin, int64_t end) {
    gact::each_row(grid, start + begin, end - begin, [=](int64_t i, int64_t length, int64_t at) {
      kernel(x + begin + i, length, width + at, least + at);
    });
  });
}

// The figures of elements in runs of a length, the first of which begin so far apart.
GACT_EXPORT void gact_box_spread(const float* table, int64_t high, int64_t wide, int64_t channels, int64_t tall,
                                 int64_t broad, int64_t start, int64_t runs, int64_t length, int64_t distance,
                                 float* out) {
  const gact::Grid grid{high, wide, channels, tall, broad};
  gact::share(runs, length, [=](int64_t begin, int64_t end) {
    for (int64_t run = begin; run < end; ++run) {
      gact::each_row(grid, start + run * distance, length, [=](int64_t i, int64_t count, int64_t at) {
        std::copy(table + at, table + at + count, out + run * length + i);
      });
    }
  });
}

// Four figures of each group: see ops/boxes.py. Slopes may be missing.
GACT_EXPORT void gact_box_noise(const float* widths, const float* under, const float* slopes, int64_t high, int64_t wide,
                                int64_t channels, int64_t tall, int64_t broad, int64_t groups, int64_t group_size,
                                float* out) {
  gact::noise(widths, under, slopes, gact::Grid{high, wide, channels, tall, broad}, groups, group_size, out);
}

// Sums over some bands of boxes, which begin at these elements: see ops/boxsamples.py.
GACT_EXPORT void gact_box_sample(const void* x, int dtype, int64_t high, int64_t wide, int64_t channels, int64_t tall,
                                 int64_t broad, const int64_t* starts, int64_t count, int64_t group_size, double* out) {
  const gact::Grid band{high, wide, channels, tall, broad};
  std::fill(out, out + 5, 0.0);
  for (int64_t number = 0; number < count; ++number) gact::sample(x, dtype, band, starts[number], group_size, out);
}

GACT_EXPORT float gact_box_look(const void* x, int dtype, int64_t high, int64_t wide, int64_t channels, int64_t tall,
                                int64_t broad, float* low, float* most, float* least) {
  return gact::look_at(x, dtype, gact::Grid{high, wide, channels, tall, broad}, low, most, least);
}

GACT_EXPORT float gact_box_unevenness(const float* widths, const float* step, int64_t boxes, int64_t channels) {
  return gact::unevenness(widths, step, boxes, channels);
}
