// Asking for memory before it is needed.
#pragma once

#include <cstdint>

#include "target.h"

namespace gact::GACT_TARGET {

// The distance hides the memory's latency behind a few groups of work.
constexpr int64_t kPrefetchBytes = 4096;

// Brings so many bytes to the cache, to be read or overwritten soon: before overwriting, the old contents are read too.
template <bool kWrite>
GACT_INLINE void prefetch(const void* x, int64_t bytes) {
  const char* from = static_cast<const char*>(x);
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i, kWrite ? 1 : 0);
}

// Brings a later part of a tensor to the cache while the current group is computed. The processor does not do so by
// itself: computing takes so long that it sees no accesses ahead.
template <bool kWrite, class T>
GACT_INLINE void prefetch_ahead(const T* x, int64_t length) {
  prefetch<kWrite>(reinterpret_cast<const char*>(x) + kPrefetchBytes, length * static_cast<int64_t>(sizeof(T)));
}

}  // namespace gact::GACT_TARGET
