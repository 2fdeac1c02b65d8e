// Looks at some bands of boxes: how much noise boxes would have, and how much groups under a transform.
// Specified by the twin of plain torch in src/gact/ops/boxsamples.py.
#include <algorithm>
#include <vector>

#include "boxes.h"

namespace gact {
namespace {

// What groups would be made of: (x - shift) * factor with figures of blocks and channels, or x along a hyperbola, but
// nothing below the lowest. The layout is that of _Under in src/gact/ops/boxsamples.py.
struct Under {
  const float* factor;  // nullptr for a hyperbola
  const float* shift;
  int64_t channels;
  int64_t inner;  // neighbours in one channel
  int64_t span;   // elements of a block
  double turn;
  double square;
  double weight;
  double lowest;
  double reach;  // of a box: a slope is that between so far below an element and so far above
};

// Some elements: as they are, as the transform makes them, how steep it is about each, and the ranges of their boxes.
struct Band {
  std::vector<float> copies, low, widths, under, slopes;
  const float* exact;
};

constexpr int64_t kPart = 2048;

// Elements as float32: those that are there, or copies of them.
void read(const void* x, int dtype, int64_t start, int64_t count, Band& band) {
  if (dtype == 0) {
    band.exact = static_cast<const float*>(x) + start;
    return;
  }
  band.copies.resize(count);
  const std::vector<float> zeros(kPart, 0.0f);
  const std::vector<float> ones(kPart, 1.0f);
  const auto narrow = active_kernels().narrow_row[dtype];
  for (int64_t i = 0; i < count; i += kPart) {
    narrow(element(x, dtype, start + i), std::min(kPart, count - i), zeros.data(), ones.data(), band.copies.data() + i);
  }
  band.exact = band.copies.data();
}

// Elements from a number on, of which runs lie in one channel, or in channels one after the other.
void along_lines(const Under& how, int64_t start, int64_t count, Band& band) {
  const auto narrow = active_kernels().narrow_row[0];
  for (int64_t i = 0, length = 0; i < count; i += length) {
    const int64_t within = (start + i) % how.span;
    const int64_t channel = within / how.inner % how.channels;
    const int64_t at = (start + i) / how.span * how.channels + channel;
    if (how.inner > 1) {
      length = std::min(how.inner - within % how.inner, count - i);
      const float factor = how.factor[at];
      const float shift = how.shift[at];
      for (int64_t k = i; k < i + length; ++k) band.under[k] = (band.exact[k] - shift) * factor;
      std::fill_n(band.slopes.data() + i, length, factor);
    } else {
      length = std::min(how.channels - channel, count - i);
      narrow(band.exact + i, length, how.shift + at, how.factor + at, band.under.data() + i);
      std::copy_n(how.factor + at, length, band.slopes.data() + i);
    }
  }
}

void along_hyperbola(const Under& how, const Grid& grid, int64_t count, Band& band) {
  const auto bend = active_kernels().bend[0];
  const Bend shape{how.turn, how.square, how.weight, 0.0};
  const auto lowest = static_cast<float>(how.lowest);
  const auto part = static_cast<float>(how.reach);
  std::vector<float> low(kPart), high(kPart), reach(kPart);
  const auto move = [&](const float* x, float* out, int64_t length) {
    bend(x, shape, out, 0, length);
    for (int64_t i = 0; i < length; ++i) out[i] = out[i] < lowest ? lowest : out[i];
  };
  for (int64_t i = 0; i < count; i += kPart) {
    const int64_t length = std::min(kPart, count - i);
    const float* x = band.exact + i;
    move(x, band.under.data() + i, length);
    each_row(grid, i, length, [&](int64_t k, int64_t run, int64_t at) {
      for (int64_t l = 0; l < run; ++l) reach[k + l] = band.widths[at + l] * part;
    });
    for (int64_t k = 0; k < length; ++k) {
      low[k] = x[k] - reach[k];
      high[k] = x[k] + reach[k];
    }
    move(low.data(), low.data(), length);
    move(high.data(), high.data(), length);
    float* slopes = band.slopes.data() + i;
    for (int64_t k = 0; k < length; ++k) slopes[k] = (high[k] - low[k]) / std::max(2 * reach[k], 1e-30f);
  }
}

// Of whole groups: sums of the mean squared range of their boxes and of their own, in units of the transform, then in
// those of elements; of the product of the first two and of the square of the second; and how many there are.
void sum(const Band& band, bool sloped, const Grid& grid, int64_t group_size, double* out) {
  const int64_t groups = grid.numel() / group_size;
  const auto size = static_cast<float>(group_size);
  const auto kernel = active_kernels().sum_group;
  std::vector<float> buffer(group_size);
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t start = group * group_size;
    const float* width = buffer.data();
    each_row(grid, start, group_size, [&](int64_t i, int64_t length, int64_t at) {
      if (length == group_size) width = band.widths.data() + at;
      else std::copy_n(band.widths.data() + at, length, buffer.data() + i);
    });
    const float* elements = sloped ? band.under.data() : band.exact;
    const BoxSums sums = kernel(width, elements + start, sloped ? band.slopes.data() + start : nullptr, group_size);
    const double own = sums.range * sums.range;
    const double boxes = (sloped ? sums.scaled : sums.square) / size;
    out[0] += boxes;
    out[1] += own;
    out[2] += sums.square / size;
    out[3] += sloped ? own * (sums.inverse / size) : own;
    out[4] += boxes * own;
    out[5] += own * own;
  }
  out[6] += static_cast<double>(groups);
}

void sample(const void* x, int dtype, const Grid& grid, int64_t start, int64_t group_size, const Under* how,
            double* out) {
  const int64_t count = grid.numel();
  Band band;
  band.low.resize(grid.across() * grid.channels);
  band.widths.resize(band.low.size());
  look_at_strip(element(x, dtype, start), dtype, grid, 0, 0, grid.channels, band.low.data(), band.widths.data(),
                nullptr);
  for (size_t i = 0; i < band.low.size(); ++i) band.widths[i] -= band.low[i];
  read(x, dtype, start, count, band);
  if (how != nullptr) {
    band.under.resize(count);
    band.slopes.resize(count);
    if (how->factor != nullptr) along_lines(*how, start, count, band);
    else along_hyperbola(*how, grid, count, band);
  }
  sum(band, how != nullptr, grid, group_size, out);
}

}  // namespace
}  // namespace gact

// Sums over some bands of boxes, which begin at these elements: see ops/boxsamples.py. The dtype is 0 for float32, 1 for
// float16, 2 for bfloat16. There may be no transform.
GACT_EXPORT void gact_box_bands(const void* x, int dtype, int64_t high, int64_t wide, int64_t channels, int64_t tall,
                                int64_t broad, const int64_t* starts, int64_t count, int64_t group_size,
                                const void* under, double* out) {
  const gact::Grid band{high, wide, channels, tall, broad};
  std::vector<double> sums(7 * count);
  gact::share(count, band.numel(), [&](int64_t begin, int64_t end) {
    for (int64_t number = begin; number < end; ++number) {
      gact::sample(x, dtype, band, starts[number], group_size, static_cast<const gact::Under*>(under),
                   sums.data() + 7 * number);
    }
  });
  std::fill_n(out, 7, 0.0);
  for (int64_t i = 0; i < 7 * count; ++i) out[i % 7] += sums[i];
}
