// Where the codes of a group lie. See docs/codes.md, "Bit packing".
#pragma once

#include <cstdint>

namespace gact {

constexpr int64_t kSmallestGroup = 32;
constexpr int64_t kLargestGroup = 1024;
constexpr int64_t kUsualGroup = 256;  // for which the kernels have loops of a constant length
constexpr int64_t kExactGroup = 256;  // of masks and integers
constexpr int64_t kPadding = 32;      // a short group is packed as if it had a multiple of this many elements

inline int64_t divide_up(int64_t value, int64_t divisor) { return value / divisor + (value % divisor != 0); }

inline int64_t padded_length(int64_t length) { return divide_up(length, kPadding) * kPadding; }

inline int64_t group_count(int64_t numel, int64_t group_size) { return divide_up(numel, group_size); }

inline int64_t code_bytes(int64_t numel, int bits) { return 4 * bits * divide_up(numel, kPadding); }

}  // namespace gact
