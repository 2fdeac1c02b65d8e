// The CPU kernels as PyTorch operators, through the LibTorch Stable ABI. The schemas are defined in src/gact/ops/schema.py.
//
// This file only translates: it checks what memory safety needs, allocates, and shares the groups among PyTorch's threads.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "dispatch.h"
#include "kernels/groups.h"

namespace {

using gact::Element;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kElementsPerTask = 32768;

Element element_of(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Float: return Element::kFloat32;
    case ScalarType::Half: return Element::kFloat16;
    case ScalarType::BFloat16: return Element::kBFloat16;
    case ScalarType::Double: return Element::kFloat64;
    default:
      STD_TORCH_CHECK(false, "dtype must be float32, float16, bfloat16 or float64, got another (code ",
                      static_cast<int>(dtype), "). Convert the tensor first.");
  }
}

void check_code(int64_t bits, int64_t group_size) {
  STD_TORCH_CHECK(bits >= 1 && bits <= 8, "bits must be a whole number from 1 to 8, got ", bits, ".");
  STD_TORCH_CHECK(group_size >= gact::kSmallestGroup && group_size <= gact::kLargestGroup && (group_size & (group_size - 1)) == 0,
                  "group_size must be a power of two from 32 to 1024, got ", group_size, ".");
}

void check_cpu(const Tensor& tensor, const char* name) {
  STD_TORCH_CHECK(tensor.is_cpu(), name, " must be on the CPU for this kernel. Move all tensors to one device.");
}

void check_bytes(const Tensor& tensor, const char* name, int64_t expected) {
  check_cpu(tensor, name);
  STD_TORCH_CHECK(tensor.scalar_type() == ScalarType::Byte && tensor.dim() == 1 && tensor.is_contiguous(), name,
                  " must be a contiguous one-dimensional uint8 tensor. Pass what quantize or pack_bits returned.");
  STD_TORCH_CHECK(tensor.numel() == expected, name, " must have ", expected, " bytes for this size, bits and group_size, got ",
                  tensor.numel(), ".");
}

// Elements without gaps and overlaps, in any order of dimensions.
template <class Sizes>
bool is_dense(const Sizes& size, const Sizes& stride) {
  std::vector<std::pair<int64_t, int64_t>> dims;
  for (size_t d = 0; d < size.size(); ++d) {
    if (size[d] == 0) return true;
    if (size[d] != 1) dims.emplace_back(stride[d], size[d]);
  }
  std::sort(dims.begin(), dims.end());
  int64_t expected = 1;
  for (const auto& [step, extent] : dims) {
    if (step != expected) return false;
    expected *= extent;
  }
  return true;
}

Tensor empty(const std::vector<int64_t>& size, const std::vector<int64_t>& stride, ScalarType dtype) {
  AtenTensorHandle handle;
  const auto code = torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(size.size()), size.data(), stride.data(), code,
                                                         aoti_torch_device_type_cpu(), 0, &handle));
  return Tensor(handle);
}

template <class F>
void for_groups(int64_t numel, int64_t group_size, const F& run) {
  const int64_t groups = gact::group_count(numel, group_size);
  if (numel <= kElementsPerTask) {
    if (groups > 0) run(0, groups);
  } else {
    torch::stable::parallel_for(0, groups, kElementsPerTask / group_size, run);
  }
}

std::tuple<Tensor, Tensor> quantize(Tensor x, int64_t bits, int64_t group_size, int64_t seed, bool stochastic) {
  check_cpu(x, "x");
  check_code(bits, group_size);
  const Element element = element_of(x.scalar_type());
  if (!x.is_contiguous() && !is_dense(x.sizes(), x.strides())) x = torch::stable::clone(x);
  const int64_t numel = x.numel();
  const int64_t groups = gact::group_count(numel, group_size);
  Tensor codes = empty({gact::code_bytes(numel, static_cast<int>(bits))}, {1}, ScalarType::Byte);
  Tensor metadata = empty({groups, 2}, {2, 1}, element == Element::kFloat64 ? ScalarType::Float : ScalarType::BFloat16);
  const void* in = x.const_data_ptr();
  auto* out = static_cast<uint8_t*>(codes.mutable_data_ptr());
  void* fields = metadata.mutable_data_ptr();
  const auto kernel = gact::active_kernels().quantize[static_cast<int>(element)];
  for_groups(numel, group_size, [=](int64_t begin, int64_t end) {
    kernel(in, numel, static_cast<int>(bits), group_size, static_cast<uint64_t>(seed), stochastic, out, fields, begin, end);
  });
  return {codes, metadata};
}

void dequantize_groups(const Tensor& codes, const Tensor& metadata, int64_t bits, int64_t group_size, int64_t numel,
                       const Tensor& out) {
  check_code(bits, group_size);
  const Element element = element_of(out.scalar_type());
  check_bytes(codes, "codes", gact::code_bytes(numel, static_cast<int>(bits)));
  check_cpu(metadata, "metadata");
  const bool wide = metadata.scalar_type() == ScalarType::Float;
  STD_TORCH_CHECK(wide || metadata.scalar_type() == ScalarType::BFloat16,
                  "metadata must be bfloat16 (float32 for codes of float64 tensors). Pass what quantize returned.");
  const int64_t groups = gact::group_count(numel, group_size);
  STD_TORCH_CHECK(metadata.dim() == 2 && metadata.is_contiguous() && metadata.size(0) == groups && metadata.size(1) == 2,
                  "metadata must be contiguous with shape [", groups, ", 2] for this size and group_size.");
  const auto* in = static_cast<const uint8_t*>(codes.const_data_ptr());
  const void* fields = metadata.const_data_ptr();
  void* to = out.mutable_data_ptr();
  const auto kernel = gact::active_kernels().dequantize[wide][static_cast<int>(element)];
  for_groups(numel, group_size, [=](int64_t begin, int64_t end) {
    kernel(in, fields, numel, static_cast<int>(bits), group_size, to, begin, end);
  });
}

Tensor dequantize(Tensor codes, Tensor metadata, int64_t bits, int64_t group_size, std::vector<int64_t> size,
                  std::vector<int64_t> stride, ScalarType dtype) {
  STD_TORCH_CHECK(size.size() == stride.size() && is_dense(size, stride),
                  "size and stride must describe a tensor without gaps or overlaps. Use the stride of torch.empty_like(x).");
  int64_t numel = 1;
  for (const int64_t extent : size) numel *= extent;
  Tensor out = empty(size, stride, dtype);
  dequantize_groups(codes, metadata, bits, group_size, numel, out);
  return out;
}

void dequantize_into(Tensor out, Tensor codes, Tensor metadata, int64_t bits, int64_t group_size) {
  check_cpu(out, "out");
  STD_TORCH_CHECK(is_dense(out.sizes(), out.strides()), "out must be a tensor without gaps or overlaps.");
  dequantize_groups(codes, metadata, bits, group_size, out.numel(), out);
}

Tensor pack_bits(Tensor codes, int64_t bits, int64_t group_size) {
  check_code(bits, group_size);
  const int64_t numel = codes.numel();
  check_bytes(codes, "codes", numel);
  Tensor packed = empty({gact::code_bytes(numel, static_cast<int>(bits))}, {1}, ScalarType::Byte);
  const auto* in = static_cast<const uint8_t*>(codes.const_data_ptr());
  auto* out = static_cast<uint8_t*>(packed.mutable_data_ptr());
  const auto kernel = gact::active_kernels().pack_bits;
  for_groups(numel, group_size,
             [=](int64_t begin, int64_t end) { kernel(in, numel, static_cast<int>(bits), group_size, out, begin, end); });
  return packed;
}

Tensor unpack_bits(Tensor packed, int64_t bits, int64_t group_size, int64_t numel) {
  check_code(bits, group_size);
  STD_TORCH_CHECK(numel >= 0, "numel must not be negative, got ", numel, ".");
  check_bytes(packed, "packed", gact::code_bytes(numel, static_cast<int>(bits)));
  Tensor codes = empty({numel}, {1}, ScalarType::Byte);
  const auto* in = static_cast<const uint8_t*>(packed.const_data_ptr());
  auto* out = static_cast<uint8_t*>(codes.mutable_data_ptr());
  const auto kernel = gact::active_kernels().unpack_bits;
  for_groups(numel, group_size,
             [=](int64_t begin, int64_t end) { kernel(in, numel, static_cast<int>(bits), group_size, out, begin, end); });
  return codes;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gact, CPU, m) {
  m.impl("quantize", TORCH_BOX(&quantize));
  m.impl("dequantize", TORCH_BOX(&dequantize));
  m.impl("dequantize_into", TORCH_BOX(&dequantize_into));
  m.impl("pack_bits", TORCH_BOX(&pack_bits));
  m.impl("unpack_bits", TORCH_BOX(&unpack_bits));
}
