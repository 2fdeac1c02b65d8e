// Boxes of neighbouring rows in one channel: their extremes, and what is taken from and given to their elements.
// Specified by the twins of plain torch in src/gact/ops/boxes.py.
#include <algorithm>
#include <cstdint>

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
