// Bounds of boxes, and group codes of places in them that are made and read in one pass. Specified by the twins of plain
// torch in src/gact/ops/boxcodes.py, and by what takes two passes: the places, then their codes.
#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "boxes.h"

#define GACT_TARGET boxes
#include "kernels/floats.h"

namespace gact {
namespace {

using boxes::BFloat16;
using boxes::Float16;

constexpr int64_t kPiece = 8192;  // elements that are worked on at a time: they stay in the nearest caches

// Calls with whole groups that together are a piece, first to before last, their first element and how many they have.
template <class Call>
void each_piece(int64_t numel, int64_t group_size, const Call& call) {
  const int64_t step = kPiece / group_size;
  for_groups(numel, group_size, [&](int64_t begin, int64_t end) {
    for (int64_t first = begin; first < end; first += step) {
      const int64_t last = std::min(first + step, end);
      call(first, last, first * group_size, std::min(last * group_size, numel) - first * group_size);
    }
  });
}

float inverse_of(float value) { return value > 1e-37f ? 1.0f / value : 0.0f; }

uint8_t level_of(float value) { return value >= 255.0f ? 255 : value > 0.0f ? static_cast<uint8_t>(value) : 0; }

void find_bounds(const float* low, const float* high, int64_t boxes, int64_t channels, uint8_t* levels, float* ranges) {
  float* least = ranges;
  float* step = ranges + channels;
  std::copy(low, low + channels, least);
  std::copy(high, high + channels, step);
  for (int64_t at = channels; at < boxes * channels; at += channels) {
    for (int64_t i = 0; i < channels; ++i) {
      least[i] = low[at + i] < least[i] ? low[at + i] : least[i];
      step[i] = high[at + i] > step[i] ? high[at + i] : step[i];
    }
  }
  std::vector<float> inverse(channels);
  for (int64_t i = 0; i < channels; ++i) {
    step[i] = (step[i] - least[i]) / 255.0f;
    inverse[i] = inverse_of(step[i]);
  }
  uint8_t* above = levels + boxes * channels;
  for (int64_t at = 0; at < boxes * channels; at += channels) {
    for (int64_t i = 0; i < channels; ++i) {
      levels[at + i] = level_of(std::floor((low[at + i] - least[i]) * inverse[i]));
      above[at + i] = level_of(std::ceil((high[at + i] - least[i]) * inverse[i]));
    }
  }
}

void read_bounds(const uint8_t* levels, const float* ranges, int64_t boxes, int64_t channels, float* least,
                 float* width, float* inverse) {
  const uint8_t* above = levels + boxes * channels;
  const float* step = ranges + channels;
  for (int64_t at = 0; at < boxes * channels; at += channels) {
    for (int64_t i = 0; i < channels; ++i) {
      const int levels_of_box = above[at + i] - levels[at + i];
      least[at + i] = static_cast<float>(levels[at + i]) * step[i] + ranges[i];
      width[at + i] = static_cast<float>(levels_of_box < 1 ? 1 : levels_of_box) * step[i];
      inverse[at + i] = inverse_of(width[at + i]);
    }
  }
}

void encode(const void* x, int dtype, const Grid& grid, const float* least, const float* inverse, int bits,
            int64_t group_size, uint64_t seed, uint8_t* codes, void* metadata) {
  const auto narrow = active_kernels().narrow_row[dtype];
  const auto quantize = active_kernels().quantize[static_cast<int>(Element::kFloat32)];
  each_piece(grid.numel(), group_size, [=](int64_t first, int64_t last, int64_t start, int64_t count) {
    alignas(64) float places[kPiece];
    each_row(grid, start, count, [&](int64_t i, int64_t length, int64_t at) {
      narrow(element(x, dtype, start + i), length, least + at, inverse + at, places + i);
    });
    // The kernel finds a group by its number.
    quantize(places - start, start + count, bits, group_size, seed, Rounding::kDithered, codes, metadata, first, last);
  });
}

void put(const float*, int64_t, float*) {}

template <class T>
void put(const float* values, int64_t count, T* out) {
  for (int64_t i = 0; i < count; ++i) boxes::from_real(values[i], out + i);
}

template <class T>
void decode(const uint8_t* codes, const void* metadata, int bits, int64_t group_size, uint64_t seed, const Grid& grid,
            int64_t begin, int64_t numel, const float* width, const float* least, void* out) {
  const auto restore = active_kernels().restore_row;
  const auto dequantize = active_kernels().dequantize[0][static_cast<int>(Element::kFloat32)];
  each_piece(numel, group_size, [=](int64_t first, int64_t last, int64_t start, int64_t count) {
    alignas(64) float buffer[std::is_same_v<T, float> ? 1 : kPiece];
    T* to = static_cast<T*>(out) + start;
    float* values = std::is_same_v<T, float> ? reinterpret_cast<float*>(to) : buffer;
    dequantize(codes, metadata, start + count, bits, group_size, seed, false, values - start, first, last);
    each_row(grid, begin + start, count, [=](int64_t i, int64_t length, int64_t at) {
      restore(values + i, length, width + at, least + at);
    });
    put(values, count, to);
  });
}

}  // namespace
}  // namespace gact

GACT_EXPORT void gact_box_bounds(const float* low, const float* high, int64_t boxes, int64_t channels, uint8_t* levels,
                                 float* ranges) {
  gact::find_bounds(low, high, boxes, channels, levels, ranges);
}

GACT_EXPORT void gact_box_tables(const uint8_t* levels, const float* ranges, int64_t boxes, int64_t channels,
                                 float* least, float* width, float* inverse) {
  gact::read_bounds(levels, ranges, boxes, channels, least, width, inverse);
}

// The dtype is 0 for float32, 1 for float16, 2 for bfloat16.
GACT_EXPORT void gact_box_encode(const void* x, int dtype, int64_t high, int64_t wide, int64_t channels, int64_t tall,
                                 int64_t broad, const float* least, const float* inverse, int bits, int64_t group_size,
                                 int64_t seed, uint8_t* codes, void* metadata) {
  const gact::Grid grid{high, wide, channels, tall, broad};
  gact::encode(x, dtype, grid, least, inverse, bits, group_size, static_cast<uint64_t>(seed), codes, metadata);
}

// Elements from a number on, at the beginning of a group; codes, metadata and seed are those from there on.
GACT_EXPORT void gact_box_decode(const uint8_t* codes, const void* metadata, int bits, int64_t group_size, int64_t seed,
                                 int64_t high, int64_t wide, int64_t channels, int64_t tall, int64_t broad,
                                 int64_t start, int64_t count, const float* width, const float* least, int dtype,
                                 void* out) {
  const gact::Grid grid{high, wide, channels, tall, broad};
  const auto decode = dtype == 0   ? gact::decode<float>
                      : dtype == 1 ? gact::decode<gact::boxes::Float16>
                                   : gact::decode<gact::boxes::BFloat16>;
  decode(codes, metadata, bits, group_size, static_cast<uint64_t>(seed), grid, start, count, width, least, out);
}
