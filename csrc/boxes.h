// Boxes of neighbouring rows in one channel: which elements are a box, and sharing them among PyTorch's threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "bindings.h"
#include "dispatch.h"

namespace gact {

// Rows of `channels` elements lie as a plane of `high` by `wide`, which is cut into boxes of `tall` by `broad`.
struct Grid {
  int64_t high;
  int64_t wide;
  int64_t channels;
  int64_t tall;
  int64_t broad;

  int64_t across() const { return (wide + broad - 1) / broad; }
  // Strips of boxes beside each other, and the rows of one from a row on.
  int64_t strips() const { return (high + tall - 1) / tall; }
  int64_t first_row(int64_t strip) const { return std::min(strip * tall, high) * wide; }
  int64_t numel() const { return high * wide * channels; }
};

// A row, and the box that it is in.
class Cursor {
 public:
  Cursor(const Grid& grid, int64_t row)
      : grid_(grid),
        x_(row % grid.wide),
        down_(row / grid.wide % grid.tall),
        right_(x_ % grid.broad),
        column_(x_ / grid.broad),
        before_(row / grid.wide / grid.tall * grid.across()) {}

  int64_t box() const { return before_ + column_; }
  bool begins_box() const { return down_ == 0 && right_ == 0; }

  void advance() {
    if (++right_ == grid_.broad) {
      right_ = 0;
      ++column_;
    }
    if (++x_ < grid_.wide) return;
    x_ = right_ = column_ = 0;
    if (++down_ == grid_.tall) {
      down_ = 0;
      before_ += grid_.across();
    }
  }

 private:
  const Grid& grid_;
  int64_t x_, down_, right_, column_, before_;
};

// Calls with the elements of each row that lie in start .. start + count - 1, and the first of their figures.
template <class Call>
void each_row(const Grid& grid, int64_t start, int64_t count, const Call& call) {
  Cursor cursor(grid, start / grid.channels);
  int64_t channel = start % grid.channels;
  for (int64_t i = 0; i < count; channel = 0, cursor.advance()) {
    const int64_t length = std::min(grid.channels - channel, count - i);
    call(i, length, cursor.box() * grid.channels + channel);
    i += length;
  }
}

// The address of an element of float32, or of two bytes.
inline const void* element(const void* x, int dtype, int64_t number) {
  return static_cast<const char*>(x) + number * (dtype == 0 ? 4 : 2);
}

// Shares units of so many elements each.
template <class F>
void share(int64_t units, int64_t each, const F& run) {
  if (units <= 0) return;
  if (units * each <= kElementsPerLook) return run(int64_t{0}, units);
  torch::stable::parallel_for(0, units, std::max<int64_t>(kElementsPerLook / std::max<int64_t>(each, 1), 1), run);
}

// Looks at a strip of boxes beside each other, of the channels from one to before another; returns the sum of the energies
// of its parts of rows, and writes the least of each box unless that is null.
double look_at_strip(const void* x, int dtype, const Grid& grid, int64_t strip, int64_t first, int64_t last,
                     float* low, float* high, float* least);

}  // namespace gact
