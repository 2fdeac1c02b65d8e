// Elements moved along a hyperbola. The schema is defined in src/gact/ops/schema.py.
#include "bindings.h"
#include "dispatch.h"

namespace gact {
namespace {

void bend_into(Tensor out, Tensor x, double before, double square, double weight, double after) {
  check_cpu(x, "x");
  check_cpu(out, "out");
  const Element element = element_of(x.scalar_type());
  const ScalarType real = element == Element::kFloat64 ? ScalarType::Double : ScalarType::Float;
  STD_TORCH_CHECK(out.scalar_type() == real, "out must be float64 for x of float64, else float32.");
  STD_TORCH_CHECK(x.is_contiguous() && out.is_contiguous() && x.numel() == out.numel(),
                  "x and out must be contiguous and of one shape.");
  const void* from = x.const_data_ptr();
  void* to = out.mutable_data_ptr();
  const int64_t numel = x.numel();
  const Bend how{before, square, weight, after};
  const auto kernel = active_kernels().bend[static_cast<int>(element)];
  for_groups(numel, kUsualGroup, [=](int64_t begin, int64_t end) {
    const int64_t stop = end * kUsualGroup;
    kernel(from, how, to, begin * kUsualGroup, stop < numel ? stop : numel);
  });
}

}  // namespace
}  // namespace gact

STABLE_TORCH_LIBRARY_IMPL(gact, CPU, m) { m.impl("bend_into", TORCH_BOX(&gact::bend_into)); }
