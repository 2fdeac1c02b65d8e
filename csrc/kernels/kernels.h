// Everything of one instruction set: included by the target_*.cpp files between their pragmas.
#pragma once

#include "bends.h"
#include "boxes.h"
#include "dequantize.h"
#include "integers.h"
#include "masks.h"
#include "quantize.h"
#include "rebuild.h"
#include "table.h"

namespace gact::GACT_TARGET {

constexpr Kernels kKernels = {
    GACT_NAME,
    {quantize<float>, quantize<Float16>, quantize<BFloat16>, quantize<double>},
    {{dequantize<float, float>, dequantize<float, Float16>, dequantize<float, BFloat16>, dequantize<float, double>},
     {dequantize<double, float>, dequantize<double, Float16>, dequantize<double, BFloat16>,
      dequantize<double, double>}},
    {rebuild<float>, rebuild<Float16>, rebuild<BFloat16>},
    {bend<float>, bend<Float16>, bend<BFloat16>, bend<double>},
    {encode_mask<float>, encode_mask<Float16>, encode_mask<BFloat16>, encode_mask<double>, encode_mask<Bool>},
    {decode_mask<float>, decode_mask<Float16>, decode_mask<BFloat16>, decode_mask<double>, decode_mask<Bool>},
    {apply_mask<float>, apply_mask<Float16>, apply_mask<BFloat16>, apply_mask<double>},
    {encode_integers<int64_t>, encode_integers<int32_t>, encode_integers<int16_t>, encode_integers<uint8_t>,
     encode_integers<int8_t>},
    {decode_integers<int64_t>, decode_integers<int32_t>, decode_integers<int16_t>, decode_integers<uint8_t>,
     decode_integers<int8_t>},
    {narrow_row<float>, narrow_row<Float16>, narrow_row<BFloat16>},
    restore_row,
    {widen_row<float>, widen_row<Float16>, widen_row<BFloat16>},
    sum_group,
    {measure_runs<float>, measure_runs<Float16>, measure_runs<BFloat16>},
};

}  // namespace gact::GACT_TARGET
