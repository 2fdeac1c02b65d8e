// A device that stands in for a GPU: its memory is the host's and its kernels are the CPU's, and what would wait for a
// GPU (a number or a shape that depends on values, a copy that is not asked for beside the computation) is counted, or
// an error while it is forbidden.
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/ops/empty_strided.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <set>
#include <string>

namespace {

bool forbidden = false;
int64_t waits = 0;
constexpr auto KIND = c10::DeviceType::PrivateUse1;
const std::set<std::string> WAITING = {
    "aten::_local_scalar_dense", "aten::item", "aten::nonzero", "aten::equal", "aten::is_nonzero", "aten::masked_select",
    "aten::_unique2", "aten::unique_consecutive", "aten::unique_dim", "aten::allclose", "aten::repeat_interleave",
    "aten::nonzero_static", "aten::bincount"};

void wait_for(const c10::OperatorHandle& op) {
  ++waits;
  TORCH_CHECK(!forbidden, "stand-in device: ", op.schema().name(), " waits for the device");
}

struct Memory {
  const char* start;
  c10::Storage storage;
};

at::Tensor over(c10::Storage storage, c10::DispatchKey key, const at::Tensor& like, int64_t offset) {
  auto made = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), c10::DispatchKeySet(key), like.dtype());
  made.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), offset);
  return made;
}

// The same memory as a tensor of the CPU.
at::Tensor on_host(const at::Tensor& tensor, std::vector<Memory>& known) {
  if (!tensor.defined() || tensor.device().type() != KIND) return tensor;
  if (!tensor.numel()) return at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options().device(at::kCPU));
  const auto& storage = tensor.storage();
  known.push_back({static_cast<const char*>(storage.data()), storage});
  c10::DataPtr data(const_cast<void*>(storage.data()), c10::Device(c10::DeviceType::CPU));
  c10::Storage host(c10::Storage::use_byte_size_t(), storage.nbytes(), std::move(data), nullptr, false);
  return over(std::move(host), c10::DispatchKey::CPU, tensor, tensor.storage_offset());
}

// A result of the CPU as a tensor of the device: a view of an argument, or memory of its own.
at::Tensor on_device(const at::Tensor& tensor, const std::vector<Memory>& known) {
  if (!tensor.defined() || tensor.device().type() == KIND) return tensor;
  const auto* place = static_cast<const char*>(tensor.const_data_ptr());
  c10::Storage storage;
  int64_t offset = 0;
  for (const auto& each : known)
    if (place >= each.start && place < each.start + std::max<size_t>(each.storage.nbytes(), 1) && each.start) {
      storage = each.storage;
      offset = (place - each.start) / static_cast<int64_t>(tensor.element_size());
      break;
    }
  if (!storage) {
    auto* kept = new at::Tensor(tensor);
    c10::DataPtr data(const_cast<char*>(static_cast<const char*>(tensor.storage().data())), kept,
                      [](void* held) { delete static_cast<at::Tensor*>(held); }, c10::Device(KIND, 0));
    storage = c10::Storage(c10::Storage::use_byte_size_t(), tensor.storage().nbytes(), std::move(data), nullptr, false);
    offset = tensor.storage_offset();
  }
  return over(std::move(storage), c10::DispatchKey::PrivateUse1, tensor, offset);
}

c10::OperatorHandle find(const char* name) { return c10::Dispatcher::singleton().findSchemaOrThrow(name, ""); }

void fall_back(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const auto count = schema.arguments().size(), begin = stack->size() - count;
  if (WAITING.count(schema.name())) wait_for(op);
  std::vector<Memory> known;
  std::vector<c10::IValue> given(stack->begin() + begin, stack->end());
  for (size_t at = 0; at < count; ++at) {
    auto& value = (*stack)[begin + at];
    if (value.isTensor()) {
      value = on_host(value.toTensor(), known);
    } else if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& each : value.toTensorVector()) list.push_back(on_host(each, known));
      value = list;
    } else if (value.isList() && schema.arguments()[at].type()->str().find("Tensor") != std::string::npos) {
      c10::List<std::optional<at::Tensor>> list;
      for (const c10::IValue& each : value.toListRef())
        list.push_back(each.isNone() ? std::nullopt : std::optional<at::Tensor>(on_host(each.toTensor(), known)));
      value = list;
    } else if (value.isDevice()) {
      if (value.toDevice().type() == KIND) value = c10::Device(c10::DeviceType::CPU);
    }
  }
  if (schema.name() == "aten::_copy_from" || schema.name() == "aten::_copy_from_and_resize") {
    if (given[0].toTensor().device() != given[1].toTensor().device() && !(count > 2 && given[2].toBool())) wait_for(op);
    (*stack)[begin + 1].toTensor().copy_((*stack)[begin].toTensor());
    torch::jit::drop(*stack, count);
    stack->push_back(given[1]);
    return;
  }
  if (schema.name() == "aten::convolution_overrideable") {
    find("aten::convolution").callBoxed(stack);
  } else if (schema.name() == "aten::convolution_backward_overrideable") {
    const auto& weight = (*stack)[begin + 2].toTensor();
    stack->insert(stack->begin() + begin + 3, std::vector<int64_t>{weight.size(0)});
    find("aten::convolution_backward").callBoxed(stack);
  } else {
    op.callBoxed(stack);
  }
  const auto results = schema.returns().size(), first = stack->size() - results;
  for (size_t at = 0; at < results; ++at) {
    auto& value = (*stack)[first + at];
    const auto* alias = schema.returns()[at].alias_info();
    if (alias && alias->isWrite()) {  // one of the arguments itself
      for (size_t from = 0; from < count; ++from)
        if (const auto* theirs = schema.arguments()[from].alias_info())
          if (theirs->isWrite() && theirs->beforeSets() == alias->beforeSets()) {
            const auto made = value.toTensor();
            value = given[from];
            if (value.toTensor().sizes() == made.sizes()) continue;
            const auto grown = on_device(made, known);  // an empty result that was given has been resized
            value.toTensor().unsafeGetTensorImpl()->set_storage_keep_dtype(grown.storage());
            value.toTensor().unsafeGetTensorImpl()->set_sizes_and_strides(grown.sizes(), grown.strides());
          }
    } else if (value.isTensor()) {
      value = on_device(value.toTensor(), known);
    } else if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& each : value.toTensorVector()) list.push_back(on_device(each, known));
      value = list;
    }
  }
}

// One device with one stream, on which all that is asked for has happened already.
struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return KIND; }
  c10::Device exchangeDevice(c10::Device) const override { return getDevice(); }
  c10::Device getDevice() const override { return c10::Device(KIND, 0); }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device device) const override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream getDefaultStream(c10::Device device) const override { return getStream(device); }
  c10::Stream getNewStream(c10::Device device, int) const override { return getStream(device); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void** event, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {
    *event = const_cast<Guard*>(this);
  }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
};

const bool registered = (at::RegisterPrivateUse1HooksInterface(new Hooks()), true);

}  // namespace

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&fall_back>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  for (const char* name : {"convolution_overrideable", "convolution_backward_overrideable"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&fall_back>());
}

TORCH_LIBRARY(standin, m) {
  m.def("forbid(bool yes) -> ()", [](bool yes) { forbidden = yes; });
  m.def("waits() -> int", [] { return waits; });
}
