// Integers as offsets from their minimum. See docs/codes.md, "Integers".
#pragma once

#include <type_traits>

#include "bits.h"
#include "groups.h"
#include "prefetch.h"

namespace gact::GACT_TARGET {

// Offsets of `length` integers, modulo the width of Code: the upper bits are not needed to subtract the lower ones.
template <class Code, class T>
GACT_INLINE void narrow(const T* GACT_RESTRICT x, int64_t length, int64_t minimum, Code* GACT_RESTRICT codes) {
  for (int64_t i = 0; i < length; ++i)
    codes[i] = static_cast<Code>(static_cast<Code>(x[i]) - static_cast<Code>(minimum));
}

template <class Code, class T>
GACT_INLINE void widen(const Code* GACT_RESTRICT codes, int64_t length, int64_t minimum, T* GACT_RESTRICT out) {
  using U = std::make_unsigned_t<T>;
  for (int64_t i = 0; i < length; ++i)
    out[i] = static_cast<T>(static_cast<U>(static_cast<U>(codes[i]) + static_cast<U>(minimum)));
}

typedef uint16_t __attribute__((may_alias, aligned(1))) Code16;
typedef uint32_t __attribute__((may_alias, aligned(1))) Code32;

template <class T>
void encode_integers(const void* input, int64_t numel, int64_t minimum, int bits, uint8_t* codes, int64_t begin,
                     int64_t end) {
  alignas(64) uint8_t narrowed[kExactGroup];
  for (int64_t g = begin; g < end; ++g) {
    const int64_t start = g * kExactGroup;
    const int64_t length = numel - start < kExactGroup ? numel - start : kExactGroup;
    const int64_t padded = padded_length(length);
    const T* x = static_cast<const T*>(input) + start;
    uint8_t* out = codes + g * code_bytes(kExactGroup, bits);
    prefetch_ahead<false>(x, length);
    if (length < padded) __builtin_memset(out, 0, static_cast<size_t>(code_bytes(length, bits)));
    if (bits == 32) {
      narrow(x, length, minimum, reinterpret_cast<Code32*>(out));
    } else if (bits == 16) {
      narrow(x, length, minimum, reinterpret_cast<Code16*>(out));
    } else if (bits == 8) {
      narrow(x, length, minimum, out);
    } else {
      if (length < padded) __builtin_memset(narrowed, 0, sizeof(narrowed));
      narrow(x, length, minimum, narrowed);
      kPack[bits](narrowed, padded, out);
    }
  }
}

template <class T>
void decode_integers(const uint8_t* codes, int64_t numel, int64_t minimum, int bits, void* output, int64_t begin,
                     int64_t end) {
  alignas(64) uint8_t unpacked[kExactGroup];
  for (int64_t g = begin; g < end; ++g) {
    const int64_t start = g * kExactGroup;
    const int64_t length = numel - start < kExactGroup ? numel - start : kExactGroup;
    const uint8_t* in = codes + g * code_bytes(kExactGroup, bits);
    T* out = static_cast<T*>(output) + start;
    prefetch_ahead<true>(out, length);
    if (bits == 32) {
      widen(reinterpret_cast<const Code32*>(in), length, minimum, out);
    } else if (bits == 16) {
      widen(reinterpret_cast<const Code16*>(in), length, minimum, out);
    } else if (bits == 8) {
      widen(in, length, minimum, out);
    } else {
      kUnpack[bits](in, padded_length(length), unpacked);
      widen(unpacked, length, minimum, out);
    }
  }
}

}  // namespace gact::GACT_TARGET
