#include "bindings.h"

#ifndef STABLE_TORCH_ERROR_CODE_CHECK  // a name of torch 2.12; before, the same macro has the other one
#define STABLE_TORCH_ERROR_CODE_CHECK(call) TORCH_ERROR_CODE_CHECK(call)
#endif

namespace gact {

Tensor empty(const int64_t* size, const int64_t* stride, size_t dims, ScalarType dtype) {
  AtenTensorHandle handle;
  const auto code = torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(dims), size, stride, code,
                                                         aoti_torch_device_type_cpu(), 0, &handle));
  return Tensor(handle);
}

}  // namespace gact
