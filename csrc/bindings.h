// What the operators have in common: checks that memory safety needs, allocation, and sharing the groups among
// PyTorch's threads.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <initializer_list>

#include "kernels/groups.h"
#include "kernels/table.h"

namespace gact {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kElementsPerTask = 32768;
// Of what takes a tenth of a nanosecond for each: waking a thread must be worth it.
constexpr int64_t kElementsPerLook = 131072;

inline Element element_of(ScalarType dtype) {
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

inline void check_cpu(const Tensor& tensor, const char* name) {
  STD_TORCH_CHECK(tensor.is_cpu(), name, " must be on the CPU for this kernel. Move all tensors to one device.");
}

inline void check_bytes(const Tensor& tensor, const char* name, int64_t expected) {
  check_cpu(tensor, name);
  STD_TORCH_CHECK(tensor.scalar_type() == ScalarType::Byte && tensor.dim() == 1 && tensor.is_contiguous(), name,
                  " must be a contiguous one-dimensional uint8 tensor. Pass what the encoding operator returned.");
  STD_TORCH_CHECK(tensor.numel() == expected, name, " must have ", expected, " bytes for this size and code, got ",
                  tensor.numel(), ".");
}

// Elements without gaps and overlaps, in any order of dimensions.
template <class Sizes>
bool is_dense(const Sizes& size, const Sizes& stride) {
  size_t left = 0;
  for (size_t d = 0; d < size.size(); ++d) {
    if (size[d] == 0) return true;
    left += size[d] != 1;
  }
  int64_t expected = 1;
  while (left > 0) {
    size_t d = size.size();
    while (d > 0 && (size[d - 1] == 1 || stride[d - 1] != expected)) --d;
    if (d == 0) return false;
    expected *= size[d - 1];
    --left;
  }
  return true;
}

inline void check_dense(const Tensor& tensor, const char* name) {
  check_cpu(tensor, name);
  STD_TORCH_CHECK(is_dense(tensor.sizes(), tensor.strides()), name, " must be a tensor without gaps or overlaps.");
}

// The elements of the result can be read in memory order.
inline Tensor dense(const Tensor& x) {
  check_cpu(x, "x");
  return is_dense(x.sizes(), x.strides()) ? x : torch::stable::clone(x);
}

Tensor empty(const int64_t* size, const int64_t* stride, size_t dims, ScalarType dtype);

// A new tensor of a layout that must be dense.
template <class Sizes>
Tensor empty_dense(const Sizes& size, const Sizes& stride, ScalarType dtype) {
  STD_TORCH_CHECK(
      size.size() == stride.size() && is_dense(size, stride),
      "size and stride must describe a tensor without gaps or overlaps. Use the stride of torch.empty_like(x).");
  return empty(size.data(), stride.data(), size.size(), dtype);
}

inline Tensor empty_bytes(int64_t count) {
  const int64_t stride = 1;
  return empty(&count, &stride, 1, ScalarType::Byte);
}

template <class F>
void for_groups(int64_t numel, int64_t group_size, const F& run) {
  const int64_t groups = group_count(numel, group_size);
  if (numel <= kElementsPerTask) {
    if (groups > 0) run(0, groups);
  } else {
    torch::stable::parallel_for(0, groups, kElementsPerTask / group_size, run);
  }
}

}  // namespace gact
