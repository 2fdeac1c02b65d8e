// Codes to elements. See docs/codes.md.
#pragma once

#include "bits.h"
#include "decode.h"
#include "groups.h"
#include "metadata.h"
#include "prefetch.h"

namespace gact::GACT_TARGET {

// Codes of a tensor, and what they were made with. Real is their arithmetic: that of the tensor they came from.
template <class Real>
struct GroupCodes {
  const uint8_t* codes;
  const void* metadata;
  int64_t numel;
  int bits;
  int64_t group_size;
  uint64_t seed;
};

// Elements of one group, to the dtype asked for; past the caches if `stream`, to aligned memory.
template <class Real, class T>
GACT_INLINE void decode_one(const GroupCodes<Real>& of, int64_t g, bool stream, T* out) {
  using F = Fields<Real>;
  using Field = typename F::Field;
  alignas(64) uint8_t unpacked[kLargestGroup];
  const int64_t left = of.numel - g * of.group_size;
  const int64_t length = left < of.group_size ? left : of.group_size;
  const uint8_t* packed = of.codes + g * code_bytes(of.group_size, of.bits);
  Field fields[2];
  __builtin_memcpy(fields, static_cast<const uint8_t*>(of.metadata) + g * sizeof(fields), sizeof(fields));
  if (fields[1] == 0) {
    Field rest;
    __builtin_memcpy(&rest, packed, sizeof(rest));
    using Integer = typename F::Integer;
    fill(out, length, bit_cast<Real>(static_cast<Integer>((static_cast<uint64_t>(fields[0]) << F::kHalf) | rest)));
    return;
  }
  // A poisoned group needs no case of its own: NaN + 0 * NaN is NaN.
  kUnpack[of.bits](packed, padded_length(length), unpacked);
  if (fields[1] & F::kSign) {
    const Real scale = F::read(static_cast<Field>(fields[1] ^ F::kSign));
    decode_dithered_group(unpacked, length, F::read(fields[0]), scale, group_key(of.seed, g), stream, out);
  } else {
    decode_group(unpacked, length, F::read(fields[0]), F::read(fields[1]), stream, out);
  }
}

// Groups begin .. end - 1 of a tensor, written past the caches if `stream` and the memory is aligned.
template <class Real, class T>
void dequantize(const uint8_t* codes, const void* metadata, int64_t numel, int bits, int64_t group_size, uint64_t seed,
                bool stream, void* output, int64_t begin, int64_t end) {
  const GroupCodes<Real> groups{codes, metadata, numel, bits, group_size, seed};
  stream = stream && reinterpret_cast<uintptr_t>(output) % 64 == 0;
  for (int64_t g = begin; g < end; ++g) {
    const int64_t left = numel - g * group_size;
    T* out = static_cast<T*>(output) + g * group_size;
    if (!stream) prefetch_ahead<true>(out, left < group_size ? left : group_size);
    decode_one(groups, g, stream, out);
  }
#ifdef GACT_SIMD
  if (stream) fence();
#endif
}

}  // namespace gact::GACT_TARGET
