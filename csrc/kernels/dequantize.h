// Codes to elements. See docs/codes.md.
#pragma once

#include "bits.h"
#include "decode.h"
#include "groups.h"
#include "metadata.h"
#include "prefetch.h"

namespace gact::GACT_TARGET {

// Groups begin .. end - 1 of a tensor, written past the caches if `stream` and the memory is aligned. Real is the
// arithmetic of the codes (that of the tensor they came from), T the dtype asked for.
template <class Real, class T>
void dequantize(const uint8_t* codes, const void* metadata, int64_t numel, int bits, int64_t group_size, uint64_t seed,
                bool stream, void* output, int64_t begin, int64_t end) {
  using F = Fields<Real>;
  using Field = typename F::Field;
  alignas(64) uint8_t unpacked[kLargestGroup];
  const int64_t bytes = code_bytes(group_size, bits);
  stream = stream && reinterpret_cast<uintptr_t>(output) % 64 == 0;
  const Packer unpack = kUnpack[bits];
  for (int64_t g = begin; g < end; ++g) {
    const int64_t start = g * group_size;
    const int64_t length = numel - start < group_size ? numel - start : group_size;
    T* out = static_cast<T*>(output) + start;
    const uint8_t* packed = codes + g * bytes;
    if (!stream) prefetch_ahead<true>(out, length);
    Field fields[2];
    __builtin_memcpy(fields, static_cast<const uint8_t*>(metadata) + g * sizeof(fields), sizeof(fields));
    if (fields[1] == 0) {
      Field rest;
      __builtin_memcpy(&rest, packed, sizeof(rest));
      using Integer = typename F::Integer;
      fill(out, length, bit_cast<Real>(static_cast<Integer>((static_cast<uint64_t>(fields[0]) << F::kHalf) | rest)));
      continue;
    }
    // A poisoned group needs no case of its own: NaN + 0 * NaN is NaN.
    unpack(packed, padded_length(length), unpacked);
    if (fields[1] & F::kSign) {
      const Real scale = F::read(static_cast<Field>(fields[1] ^ F::kSign));
      decode_dithered_group(unpacked, length, F::read(fields[0]), scale, group_key(seed, g), stream, out);
    } else {
      decode_group(unpacked, length, F::read(fields[0]), F::read(fields[1]), stream, out);
    }
  }
#ifdef GACT_SIMD
  if (stream) fence();
#endif
}

}  // namespace gact::GACT_TARGET
