// Bit packing: the planes of a group. See docs/codes.md, "Bit packing".
#pragma once

#include <cstdint>

#include "target.h"

namespace gact::GACT_TARGET {

// Four codes at a time: sections are whole words, because a group is packed as if it had a multiple of 32 elements.
typedef uint32_t __attribute__((may_alias, aligned(1))) Word;

template <int kWidth>
constexpr uint32_t kPlaneMask = ((1u << kWidth) - 1u) * 0x01010101u;

// Writes bits shift .. shift + kWidth - 1 of `length` codes; returns the end of the plane.
template <int kWidth>
inline uint8_t* pack_plane(const uint8_t* GACT_RESTRICT codes, int64_t length, int shift, uint8_t* GACT_RESTRICT plane) {
  constexpr int kSections = 8 / kWidth;
  const int64_t words = length / kSections / 4;
  const Word* GACT_RESTRICT in = reinterpret_cast<const Word*>(codes);
  Word* GACT_RESTRICT out = reinterpret_cast<Word*>(plane);
  for (int64_t k = 0; k < words; ++k) {
    uint32_t word = 0;
    for (int s = 0; s < kSections; ++s) word |= ((in[s * words + k] >> shift) & kPlaneMask<kWidth>) << (s * kWidth);
    out[k] = word;
  }
  return plane + words * 4;
}

// The other way; the lowest plane sets the codes, the others add their bits. Returns the end of the plane.
template <int kWidth>
inline const uint8_t* unpack_plane(const uint8_t* GACT_RESTRICT plane, int64_t length, int shift, uint8_t* GACT_RESTRICT codes) {
  constexpr int kSections = 8 / kWidth;
  const int64_t words = length / kSections / 4;
  const Word* GACT_RESTRICT in = reinterpret_cast<const Word*>(plane);
  Word* GACT_RESTRICT out = reinterpret_cast<Word*>(codes);
  if (shift == 0) {
    for (int64_t k = 0; k < words; ++k) {
      for (int s = 0; s < kSections; ++s) out[s * words + k] = (in[k] >> (s * kWidth)) & kPlaneMask<kWidth>;
    }
  } else {
    for (int64_t k = 0; k < words; ++k) {
      for (int s = 0; s < kSections; ++s) out[s * words + k] |= ((in[k] >> (s * kWidth)) & kPlaneMask<kWidth>) << shift;
    }
  }
  return plane + words * 4;
}

// A width is a sum of 8, 4, 2 and 1: one plane each, lowest code bits first.
inline void pack_group(const uint8_t* codes, int64_t length, int bits, uint8_t* out) {
  int shift = 0;
  if (bits & 8) out = pack_plane<8>(codes, length, shift, out), shift += 8;
  if (bits & 4) out = pack_plane<4>(codes, length, shift, out), shift += 4;
  if (bits & 2) out = pack_plane<2>(codes, length, shift, out), shift += 2;
  if (bits & 1) out = pack_plane<1>(codes, length, shift, out);
}

inline void unpack_group(const uint8_t* packed, int64_t length, int bits, uint8_t* codes) {
  int shift = 0;
  if (bits & 8) packed = unpack_plane<8>(packed, length, shift, codes), shift += 8;
  if (bits & 4) packed = unpack_plane<4>(packed, length, shift, codes), shift += 4;
  if (bits & 2) packed = unpack_plane<2>(packed, length, shift, codes), shift += 2;
  if (bits & 1) packed = unpack_plane<1>(packed, length, shift, codes);
}

}  // namespace gact::GACT_TARGET
