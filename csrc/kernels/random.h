// The counter-based generator of stochastic rounding. See docs/codes.md, "Rounding".
#pragma once

#include <cstdint>

#include "groups.h"
#include "target.h"

namespace gact::GACT_TARGET {

constexpr uint64_t kKeyStep = 0x9E3779B97F4A7C15u;
constexpr uint32_t kHashStep = 0x9E3779B9u;

struct Key {
  uint32_t low;
  uint32_t high;
};

inline uint64_t splitmix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

inline Key group_key(uint64_t seed, int64_t group) {
  const uint64_t key = splitmix(seed + (static_cast<uint64_t>(group) + 1) * kKeyStep);
  return {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
}

constexpr int kFraction = 15;  // fractional bits of a code before rounding, and random bits of an element

// Random bits for the elements i and i + group_size / 2 of a group: the first takes the lowest 15, the second the
// highest.
inline uint32_t pair_hash(Key key, uint32_t i) {
  uint32_t h = key.low + i * kHashStep;
  h = (h ^ (h >> 16)) * 0x7FEB352Du;
  h = h ^ key.high;
  h = (h ^ (h >> 15)) * 0x846CA68Bu;
  return h ^ (h >> 16);
}

// Bits that the decoder draws again: two for each element, 16 elements to a hash, whose counters no pair of elements
// uses.
constexpr uint32_t kSharedCounter = kLargestGroup / 2;
constexpr int64_t kSharedLanes = 16;
constexpr int64_t kSharedSpan = 256;  // elements served by kSharedLanes hashes

struct SharedBits {
  alignas(64) uint32_t words[kLargestGroup / kSharedSpan * kSharedLanes];

  SharedBits(Key key, int64_t length) {
    const int64_t count = (length + kSharedSpan - 1) / kSharedSpan * kSharedLanes;
    for (int64_t i = 0; i < count; ++i) words[i] = pair_hash(key, kSharedCounter + static_cast<uint32_t>(i));
  }

  // The words of the elements from j on, and how far theirs are shifted up; j is a multiple of the lanes that are read.
  GACT_INLINE const uint32_t* at(int64_t j) const { return words + j / kSharedSpan * kSharedLanes + j % kSharedLanes; }
  static GACT_INLINE int shift(int64_t j) { return static_cast<int>(2 * (j / kSharedLanes % kSharedLanes)); }

  GACT_INLINE uint32_t operator()(int64_t j) const { return (*at(j) >> shift(j)) & 3u; }
};

// A 15-bit random number whose two highest bits are the shared ones.
GACT_INLINE uint32_t dither(uint32_t shared, uint32_t r) {
  return (shared << (kFraction - 2)) | (r & ((1u << (kFraction - 2)) - 1u));
}

GACT_INLINE uint32_t low_bits(uint32_t h) { return h & ((1u << kFraction) - 1u); }
GACT_INLINE uint32_t high_bits(uint32_t h) { return h >> (32 - kFraction); }

}  // namespace gact::GACT_TARGET
