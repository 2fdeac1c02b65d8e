// The counter-based generator of stochastic rounding. See docs/codes.md, "Rounding".
#pragma once

#include <cstdint>

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

// Random bits for the elements i and i + group_size / 2 of a group: the first takes the lowest 15, the second the highest.
inline uint32_t pair_hash(Key key, uint32_t i) {
  uint32_t h = key.low + i * kHashStep;
  h = (h ^ (h >> 16)) * 0x7FEB352Du;
  h = h ^ key.high;
  h = (h ^ (h >> 15)) * 0x846CA68Bu;
  return h ^ (h >> 16);
}

GACT_INLINE uint32_t low_bits(uint32_t h) { return h & ((1u << kFraction) - 1u); }
GACT_INLINE uint32_t high_bits(uint32_t h) { return h >> (32 - kFraction); }

}  // namespace gact::GACT_TARGET
