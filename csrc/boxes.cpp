// Boxes of neighbouring rows in one channel: their extremes, and what is taken from and given to their elements.
// Specified by the twins of plain torch in src/gact/ops/boxes.py.
#include <algorithm>
#include <cmath>
#include <vector>

#include "boxes.h"

namespace gact {

double look_at_strip(const void* x, int dtype, const Grid& grid, int64_t strip, int64_t first, int64_t last,
                     float* low, float* high, float* least) {
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

namespace {

constexpr int64_t kPart = 256;  // channels of a strip that one thread may take alone

void extremes(const void* x, int dtype, const Grid& grid, float* low, float* high) {
  const int64_t parts = std::max<int64_t>(grid.channels / kPart, 1);
  share(grid.strips() * parts, grid.tall * grid.wide * grid.channels / parts, [=](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t first = unit % parts * kPart;
      const int64_t last = unit % parts + 1 < parts ? first + kPart : grid.channels;
      look_at_strip(x, dtype, grid, unit / parts, first, last, low, high, nullptr);
    }
  });
}

float look_at(const void* x, int dtype, const Grid& grid, float* low, float* high, float* least) {
  std::vector<double> totals(grid.strips());
  share(grid.strips(), grid.tall * grid.wide * grid.channels, [&](int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; ++strip) {
      totals[strip] = look_at_strip(x, dtype, grid, strip, 0, grid.channels, low, high, least);
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

GACT_EXPORT float gact_box_look(const void* x, int dtype, int64_t high, int64_t wide, int64_t channels, int64_t tall,
                                int64_t broad, float* low, float* most, float* least) {
  return gact::look_at(x, dtype, gact::Grid{high, wide, channels, tall, broad}, low, most, least);
}

GACT_EXPORT float gact_box_unevenness(const float* widths, const float* step, int64_t boxes, int64_t channels) {
  return gact::unevenness(widths, step, boxes, channels);
}
