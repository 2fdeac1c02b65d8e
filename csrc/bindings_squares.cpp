// Squares of decoded values that are right on average. The schema is defined in src/gact/ops/schema.py.
#include <cmath>

#include "bindings.h"

#define GACT_TARGET squares
#include "kernels/metadata.h"

namespace gact {
namespace {

using squares::Arithmetic;
using squares::BFloat16;
using squares::Fields;
using squares::Float16;

// Fields of a group are its minimum and its scale; the scale of a dithered one is negative.
template <class T, class Meta>
void correct(T* x, int64_t numel, const typename Fields<Meta>::Field* fields, int64_t group_size, double middle,
             double variance, int64_t begin, int64_t end) {
  using Real = typename Arithmetic<T>::Real;
  const Real center = static_cast<Real>(middle);
  for (int64_t g = begin; g < end; ++g) {
    const Real scale = static_cast<Real>(Fields<Meta>::read(fields[2 * g + 1]));
    const Real step = scale < 0 ? -scale : Real(0);
    const Real less = step * step * static_cast<Real>(variance);
    const int64_t stop = (g + 1) * group_size < numel ? (g + 1) * group_size : numel;
    for (int64_t i = g * group_size; i < stop; ++i) {
      const Real distance = squares::to_real(x[i]) - center;
      const Real square = distance * distance - less;
      const Real root = std::sqrt(square < 0 ? Real(0) : square);  // a NaN stays one
      squares::from_real_unclamped(std::copysign(root, distance) + center, x + i);
    }
  }
}

template <class T>
void correct_all(const Tensor& x, const Tensor& metadata, int64_t group_size, double middle, double variance) {
  const int64_t numel = x.numel();
  auto* values = static_cast<T*>(x.mutable_data_ptr());
  const void* fields = metadata.const_data_ptr();
  const bool wide = metadata.scalar_type() == ScalarType::Float;
  for_groups(numel, group_size, [=](int64_t begin, int64_t end) {
    if (wide) {
      correct<T, double>(values, numel, static_cast<const uint32_t*>(fields), group_size, middle, variance, begin, end);
    } else {
      correct<T, float>(values, numel, static_cast<const uint16_t*>(fields), group_size, middle, variance, begin, end);
    }
  });
}

void correct_squares_(Tensor x, Tensor metadata, int64_t group_size, double middle, double variance) {
  check_dense(x, "x");
  check_cpu(metadata, "metadata");
  STD_TORCH_CHECK(group_size >= 32 && group_size <= kLargestGroup && (group_size & (group_size - 1)) == 0,
                  "group_size must be a power of two from 32 to 1024, got ", group_size, ".");
  const ScalarType dtype = metadata.scalar_type();
  STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::BFloat16,
                  "metadata must be bfloat16 (float32 for codes of float64 tensors). Pass what quantize returned.");
  const int64_t groups = group_count(x.numel(), group_size);
  STD_TORCH_CHECK(
      metadata.dim() == 2 && metadata.is_contiguous() && metadata.size(0) == groups && metadata.size(1) == 2,
      "metadata must be contiguous with shape [", groups, ", 2] for this size and group_size.");
  switch (x.scalar_type()) {
    case ScalarType::Float: return correct_all<float>(x, metadata, group_size, middle, variance);
    case ScalarType::Half: return correct_all<Float16>(x, metadata, group_size, middle, variance);
    case ScalarType::BFloat16: return correct_all<BFloat16>(x, metadata, group_size, middle, variance);
    case ScalarType::Double: return correct_all<double>(x, metadata, group_size, middle, variance);
    default:
      STD_TORCH_CHECK(false, "dtype must be float32, float16, bfloat16 or float64, got another (code ",
                      static_cast<int>(x.scalar_type()), "). Convert the tensor first.");
  }
}

}  // namespace
}  // namespace gact

STABLE_TORCH_LIBRARY_IMPL(gact, CPU, m) { m.impl("correct_squares_", TORCH_BOX(&gact::correct_squares_)); }
