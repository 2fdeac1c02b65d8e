// The operators of the exact codes, masks and integers. The schemas are defined in src/gact/ops/schema.py.
#include "bindings.h"
#include "dispatch.h"

namespace gact {
namespace {

int element_of(ScalarType dtype, bool with_bool) {
  switch (dtype) {
    case ScalarType::Float: return static_cast<int>(Element::kFloat32);
    case ScalarType::Half: return static_cast<int>(Element::kFloat16);
    case ScalarType::BFloat16: return static_cast<int>(Element::kBFloat16);
    case ScalarType::Double: return static_cast<int>(Element::kFloat64);
    case ScalarType::Bool:
      if (with_bool) return static_cast<int>(Element::kBool);
      [[fallthrough]];
    default:
      STD_TORCH_CHECK(false, "dtype must be float32, float16, bfloat16",
                      with_bool ? ", float64 or bool" : " or float64", ", got another (code ", static_cast<int>(dtype),
                      "). Convert the tensor first.");
  }
}

int integer_of(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Long: return static_cast<int>(Integer::kInt64);
    case ScalarType::Int: return static_cast<int>(Integer::kInt32);
    case ScalarType::Short: return static_cast<int>(Integer::kInt16);
    case ScalarType::Byte: return static_cast<int>(Integer::kUInt8);
    case ScalarType::Char: return static_cast<int>(Integer::kInt8);
    default:
      STD_TORCH_CHECK(false, "dtype must be int64, int32, int16, uint8 or int8, got another (code ",
                      static_cast<int>(dtype), "). Convert the tensor first.");
  }
}

void check_integer_bits(int64_t bits) {
  STD_TORCH_CHECK(bits >= 1 && bits <= 32 && (bits & (bits - 1)) == 0, "bits must be 1, 2, 4, 8, 16 or 32, got ", bits,
                  ".");
}

Tensor encode_mask(Tensor x, double low, double high) {
  const auto kernel = active_kernels().encode_mask[element_of(x.scalar_type(), true)];
  x = dense(x);
  const int64_t numel = x.numel();
  Tensor codes = empty_bytes(code_bytes(numel, 1));
  const void* in = x.const_data_ptr();
  auto* out = static_cast<uint8_t*>(codes.mutable_data_ptr());
  for_groups(numel, kExactGroup, [=](int64_t begin, int64_t end) { kernel(in, numel, low, high, out, begin, end); });
  return codes;
}

void decode_mask_into(Tensor out, Tensor codes, double off, double on) {
  const auto kernel = active_kernels().decode_mask[element_of(out.scalar_type(), true)];
  check_dense(out, "out");
  const int64_t numel = out.numel();
  check_bytes(codes, "codes", code_bytes(numel, 1));
  const auto* in = static_cast<const uint8_t*>(codes.const_data_ptr());
  void* to = out.mutable_data_ptr();
  for_groups(numel, kExactGroup, [=](int64_t begin, int64_t end) { kernel(in, numel, off, on, to, begin, end); });
}

void apply_mask_(Tensor x, Tensor codes, double off, double on) {
  const auto kernel = active_kernels().apply_mask[element_of(x.scalar_type(), false)];
  check_dense(x, "x");
  const int64_t numel = x.numel();
  check_bytes(codes, "codes", code_bytes(numel, 1));
  const auto* in = static_cast<const uint8_t*>(codes.const_data_ptr());
  void* to = x.mutable_data_ptr();
  for_groups(numel, kExactGroup, [=](int64_t begin, int64_t end) { kernel(to, numel, off, on, in, begin, end); });
}

Tensor encode_integers(Tensor x, int64_t minimum, int64_t bits) {
  check_integer_bits(bits);
  const auto kernel = active_kernels().encode_integers[integer_of(x.scalar_type())];
  x = dense(x);
  const int64_t numel = x.numel();
  Tensor codes = empty_bytes(code_bytes(numel, static_cast<int>(bits)));
  const void* in = x.const_data_ptr();
  auto* out = static_cast<uint8_t*>(codes.mutable_data_ptr());
  for_groups(numel, kExactGroup,
             [=](int64_t begin, int64_t end) { kernel(in, numel, minimum, static_cast<int>(bits), out, begin, end); });
  return codes;
}

void decode_integers_into(Tensor out, Tensor codes, int64_t minimum, int64_t bits) {
  check_integer_bits(bits);
  const auto kernel = active_kernels().decode_integers[integer_of(out.scalar_type())];
  check_dense(out, "out");
  const int64_t numel = out.numel();
  check_bytes(codes, "codes", code_bytes(numel, static_cast<int>(bits)));
  const auto* in = static_cast<const uint8_t*>(codes.const_data_ptr());
  void* to = out.mutable_data_ptr();
  for_groups(numel, kExactGroup,
             [=](int64_t begin, int64_t end) { kernel(in, numel, minimum, static_cast<int>(bits), to, begin, end); });
}

}  // namespace
}  // namespace gact

STABLE_TORCH_LIBRARY_IMPL(gact, CPU, m) {
  m.impl("encode_mask", TORCH_BOX(&gact::encode_mask));
  m.impl("decode_mask_into", TORCH_BOX(&gact::decode_mask_into));
  m.impl("apply_mask_", TORCH_BOX(&gact::apply_mask_));
  m.impl("encode_integers", TORCH_BOX(&gact::encode_integers));
  m.impl("decode_integers_into", TORCH_BOX(&gact::decode_integers_into));
}
