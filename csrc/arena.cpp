// NOTE [kept memory]
// The system hands out memory page by page, cleared at the first access, which takes longer than writing codes there:
// a code of 32 MiB in fresh memory takes three times as long as in memory that was in use before. The C library's heap
// keeps small blocks, but nothing of 32 MiB and more, and gives its end back whenever much of it is free. So large
// blocks of codes are kept here, up to a limit. What is kept is no tensor's and could hold gradients meanwhile, so the
// limit is low.
//
// gact's allocator keeps what any tensor gives back, codes as well: while it serves, nothing is kept here.
//
// The deleter of a tensor's memory is part of the stable ABI from torch 2.11 on. The symbol is weak: with 2.10 it is
// null and torch allocates codes as it does everything else.
#include "arena.h"

#include <mutex>
#include <new>

#include "allocator.h"

extern "C" __attribute__((weak)) AOTITorchError torch_from_blob(
    void* data, int64_t ndim, const int64_t* sizes_ptr, const int64_t* strides_ptr, int64_t storage_offset,
    int32_t dtype, int32_t device_type, int32_t device_index, AtenTensorHandle* ret, int32_t layout,
    const uint8_t* opaque_metadata, int64_t opaque_metadata_size, void (*deleter)(void* data, void* ctx),
    void* deleter_ctx);

namespace gact {
namespace {

constexpr std::align_val_t kAlignment{4096};
constexpr int64_t kSmallestBlock = int64_t{1} << 17;  // the heap is good at smaller ones
constexpr int kSteps = 8;                             // sizes of blocks between two powers of two
constexpr int kSizes = 30 * kSteps;
constexpr int64_t kUsualLimit = int64_t{64} << 20;

// Blocks of one size that are free, linked through their first bytes.
struct Shelf {
  void* first = nullptr;
  uint64_t used = 0;  // when a block was last asked for
};

int64_t block_bytes(int index) { return (kSmallestBlock / kSteps * (kSteps + index % kSteps)) << (index / kSteps); }

// The smallest size that is enough, or kSizes if none is.
int size_index(int64_t bytes) {
  int index = 0;
  while (index < kSizes && block_bytes(index + kSteps - 1) < bytes) index += kSteps;
  while (index < kSizes && block_bytes(index) < bytes) ++index;
  return index;
}

class Arena {
 public:
  void* take(int index) {
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      Shelf& shelf = shelves_[index];
      shelf.used = ++clock_;
      if (shelf.first != nullptr) return pop(index);
    }
    return ::operator new(static_cast<size_t>(block_bytes(index)), kAlignment);
  }

  void give(void* block, int index) {
    const std::lock_guard<std::mutex> guard(mutex_);
    *static_cast<void**>(block) = shelves_[index].first;
    shelves_[index].first = block;
    kept_ += block_bytes(index);
    trim();
  }

  int64_t kept() {
    const std::lock_guard<std::mutex> guard(mutex_);
    return kept_;
  }

  int64_t limit() {
    const std::lock_guard<std::mutex> guard(mutex_);
    return limit_;
  }

  void limit(int64_t bytes) {
    const std::lock_guard<std::mutex> guard(mutex_);
    limit_ = bytes;
    trim();
  }

 private:
  void* pop(int index) {
    void* block = shelves_[index].first;
    shelves_[index].first = *static_cast<void**>(block);
    kept_ -= block_bytes(index);
    return block;
  }

  // What is over the limit goes, first of the size that was not asked for the longest.
  void trim() {
    while (kept_ > limit_) {
      int oldest = -1;
      for (int i = 0; i < kSizes; ++i) {
        if (shelves_[i].first != nullptr && (oldest < 0 || shelves_[i].used < shelves_[oldest].used)) oldest = i;
      }
      ::operator delete(pop(oldest), kAlignment);
    }
  }

  std::mutex mutex_;
  Shelf shelves_[kSizes];
  uint64_t clock_ = 0;
  int64_t kept_ = 0;
  int64_t limit_ = kUsualLimit;
};

// Never destroyed: tensors may outlive everything else at the end of the process.
Arena& arena() {
  static Arena* const instance = new Arena;
  return *instance;
}

void give_back(void* block, void* index) {
  arena().give(block, static_cast<int>(reinterpret_cast<intptr_t>(index)));
}

}  // namespace

Tensor empty_code(const int64_t* size, const int64_t* stride, size_t dims, ScalarType dtype) {
  int64_t bytes = dtype == ScalarType::Byte ? 1 : dtype == ScalarType::BFloat16 ? 2 : 4;
  for (size_t d = 0; d < dims; ++d) bytes *= size[d];
  const int index = bytes < kSmallestBlock || allocator_serves() ? kSizes : size_index(bytes);
  if (torch_from_blob == nullptr || index == kSizes || arena().limit() <= 0) return empty(size, stride, dims, dtype);
  void* block = arena().take(index);
  AtenTensorHandle handle;
  const auto code = torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype));
  const AOTITorchError error = torch_from_blob(
      block, static_cast<int64_t>(dims), size, stride, 0, code, aoti_torch_device_type_cpu(), -1, &handle,
      aoti_torch_layout_strided(), nullptr, 0, give_back, reinterpret_cast<void*>(intptr_t{index}));
  if (error != AOTI_TORCH_SUCCESS) arena().give(block, index);
  STABLE_TORCH_ERROR_CODE_CHECK(error);
  return Tensor(handle);
}

}  // namespace gact

int64_t gact_arena_kept() { return gact::arena().kept(); }

void gact_arena_limit(int64_t bytes) { gact::arena().limit(bytes); }
