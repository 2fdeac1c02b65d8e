// Bit packing: the planes of a group. See docs/codes.md, "Bit packing".
#pragma once

#include <cstdint>

#include "groups.h"
#include "target.h"

namespace gact::GACT_TARGET {

// Pointers to it name it: what auto deduces has lost the attributes.
typedef uint32_t __attribute__((may_alias, aligned(1))) Word;

// The lowest `width` bits of each byte of a word.
constexpr uint32_t mask_of(int width) { return ((1u << width) - 1u) * 0x01010101u; }

// Quarter by quarter. The plane of 1 bit has sections of half a quarter: it is made as a plane of one quarter, in which
// the even bits of the first half and those of the second half are still apart.
template <int kBits>
GACT_INLINE void pack_length(const uint8_t* GACT_RESTRICT codes, int64_t length, uint8_t* GACT_RESTRICT packed) {
  if (kBits == 8) {
    __builtin_memcpy(packed, codes, static_cast<size_t>(length));
    return;
  }
  constexpr int kAbove4 = kBits & 4;              // where the bits of the plane of 2 begin
  constexpr int kAbove2 = kAbove4 + (kBits & 2);  // and that of 1
  const int64_t words = length / 16;
  const Word* in = reinterpret_cast<const Word*>(codes);
  Word* plane4 = reinterpret_cast<Word*>(packed);
  Word* plane2 = plane4 + (kBits & 4 ? 2 * words : 0);
  Word* plane1 = plane2 + (kBits & 2 ? words : 0);
  uint32_t spread[kLargestGroup / 16];
  for (int64_t k = 0; k < words; ++k) {
    const uint32_t quarters[4] = {in[k], in[words + k], in[2 * words + k], in[3 * words + k]};
    uint32_t two = 0;
    uint32_t one = 0;
    for (int q = 0; q < 4; ++q) {
      two |= ((quarters[q] >> kAbove4) & mask_of(2)) << (2 * q);
      one |= ((quarters[q] >> kAbove2) & mask_of(1)) << (2 * q);
    }
    if (kBits & 4) {
      plane4[k] = (quarters[0] & mask_of(4)) | (quarters[2] & mask_of(4)) << 4;
      plane4[words + k] = (quarters[1] & mask_of(4)) | (quarters[3] & mask_of(4)) << 4;
    }
    if (kBits & 2) plane2[k] = two;
    if (kBits & 1) spread[k] = one;
  }
  if (kBits & 1) {
    for (int64_t k = 0; k < words / 2; ++k) plane1[k] = spread[k] | spread[words / 2 + k] << 1;
  }
}

template <int kBits>
GACT_INLINE void unpack_length(const uint8_t* GACT_RESTRICT packed, int64_t length, uint8_t* GACT_RESTRICT codes) {
  if (kBits == 8) {
    __builtin_memcpy(codes, packed, static_cast<size_t>(length));
    return;
  }
  constexpr int kAbove4 = kBits & 4;
  constexpr int kAbove2 = kAbove4 + (kBits & 2);
  // Parts of the length of the shortest plane's sections: an eighth if there is one of 1 bit, else a quarter.
  constexpr int kParts = kBits & 1 ? 8 : 4;
  const int64_t words = length / 4 / kParts;
  const Word* plane4 = reinterpret_cast<const Word*>(packed);
  const Word* plane2 = plane4 + (kBits & 4 ? kParts / 2 * words : 0);
  const Word* plane1 = plane2 + (kBits & 2 ? kParts / 4 * words : 0);
  Word* out = reinterpret_cast<Word*>(codes);
  for (int64_t k = 0; k < words; ++k) {
    for (int part = 0; part < kParts; ++part) {
      const int section4 = part / (kParts / 2);
      const int section2 = part / (kParts / 4);
      uint32_t word = 0;
      if (kBits & 4) word |= (plane4[part % (kParts / 2) * words + k] >> (4 * section4)) & mask_of(4);
      if (kBits & 2) word |= ((plane2[part % (kParts / 4) * words + k] >> (2 * section2)) & mask_of(2)) << kAbove4;
      if (kBits & 1) word |= ((plane1[k] >> part) & mask_of(1)) << kAbove2;
      out[part * words + k] = word;
    }
  }
}

// The usual length is a constant, for loops without remainders.
template <int kBits>
inline void pack_width(const uint8_t* codes, int64_t length, uint8_t* packed) {
  length == kUsualGroup ? pack_length<kBits>(codes, kUsualGroup, packed) : pack_length<kBits>(codes, length, packed);
}

template <int kBits>
inline void unpack_width(const uint8_t* packed, int64_t length, uint8_t* codes) {
  length == kUsualGroup ? unpack_length<kBits>(packed, kUsualGroup, codes)
                        : unpack_length<kBits>(packed, length, codes);
}

using Packer = void (*)(const uint8_t* from, int64_t length, uint8_t* to);

// By width; both between codes of one byte each and the planes of a group.
constexpr Packer kPack[] = {nullptr,       pack_width<1>, pack_width<2>, pack_width<3>, pack_width<4>,
                            pack_width<5>, pack_width<6>, pack_width<7>, pack_width<8>};
constexpr Packer kUnpack[] = {nullptr,         unpack_width<1>, unpack_width<2>, unpack_width<3>, unpack_width<4>,
                              unpack_width<5>, unpack_width<6>, unpack_width<7>, unpack_width<8>};

}  // namespace gact::GACT_TARGET
