// Everything of one instruction set: included by the target_*.cpp files between their pragmas.
#pragma once

#include "dequantize.h"
#include "integers.h"
#include "masks.h"
#include "quantize.h"
#include "rebuild.h"
#include "table.h"

namespace gact::GACT_TARGET {

inline void pack_bits(const uint8_t* codes, int64_t numel, int bits, int64_t group_size, uint8_t* packed, int64_t begin,
                      int64_t end) {
  alignas(64) uint8_t padded[kLargestGroup];
  for (int64_t g = begin; g < end; ++g) {
    const int64_t start = g * group_size;
    const int64_t length = numel - start < group_size ? numel - start : group_size;
    const uint8_t* group = codes + start;
    if (length % kPadding != 0) {
      __builtin_memset(padded, 0, sizeof(padded));
      __builtin_memcpy(padded, group, static_cast<size_t>(length));
      group = padded;
    }
    kPack[bits](group, padded_length(length), packed + g * code_bytes(group_size, bits));
  }
}

inline void unpack_bits(const uint8_t* packed, int64_t numel, int bits, int64_t group_size, uint8_t* codes,
                        int64_t begin, int64_t end) {
  alignas(64) uint8_t padded[kLargestGroup];
  for (int64_t g = begin; g < end; ++g) {
    const int64_t start = g * group_size;
    const int64_t length = numel - start < group_size ? numel - start : group_size;
    kUnpack[bits](packed + g * code_bytes(group_size, bits), padded_length(length), padded);
    __builtin_memcpy(codes + start, padded, static_cast<size_t>(length));
  }
}

constexpr Kernels kKernels = {
    GACT_NAME,
    {quantize<float>, quantize<Float16>, quantize<BFloat16>, quantize<double>},
    {{dequantize<float, float>, dequantize<float, Float16>, dequantize<float, BFloat16>, dequantize<float, double>},
     {dequantize<double, float>, dequantize<double, Float16>, dequantize<double, BFloat16>,
      dequantize<double, double>}},
    {rebuild<float>, rebuild<Float16>, rebuild<BFloat16>},
    pack_bits,
    unpack_bits,
    {encode_mask<float>, encode_mask<Float16>, encode_mask<BFloat16>, encode_mask<double>, encode_mask<Bool>},
    {decode_mask<float>, decode_mask<Float16>, decode_mask<BFloat16>, decode_mask<double>, decode_mask<Bool>},
    {apply_mask<float>, apply_mask<Float16>, apply_mask<BFloat16>, apply_mask<double>},
    {encode_integers<int64_t>, encode_integers<int32_t>, encode_integers<int16_t>, encode_integers<uint8_t>,
     encode_integers<int8_t>},
    {decode_integers<int64_t>, decode_integers<int32_t>, decode_integers<int16_t>, decode_integers<uint8_t>,
     decode_integers<int8_t>},
};

}  // namespace gact::GACT_TARGET
