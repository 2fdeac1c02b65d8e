// Asking for memory before it is needed.
#pragma once

#include <cstdint>

#include "target.h"

namespace gact::GACT_TARGET {

// The distance hides the memory's latency behind a few groups of work.
constexpr int64_t kPrefetchBytes = 4096;

// Brings a later part of a tensor to the cache while the current group is computed. The processor does not do so by
// itself: computing takes so long that it sees no accesses ahead. Also before overwriting, where the old contents must
// be read first.
template <bool kWrite, class T>
GACT_INLINE void prefetch_ahead(const T* x, int64_t length) {
  const char* ahead = reinterpret_cast<const char*>(x) + kPrefetchBytes;
  for (int64_t i = 0; i < length * static_cast<int64_t>(sizeof(T)); i += 64)
    __builtin_prefetch(ahead + i, kWrite ? 1 : 0);
}

// Brings so many elements to the cache, to be overwritten; gives the place behind them.
template <class T>
GACT_INLINE const T* prefetch_to_write(const T* x, int64_t length) {
  const char* bytes = reinterpret_cast<const char*>(x);
  for (int64_t i = 0; i < length * static_cast<int64_t>(sizeof(T)); i += 64) __builtin_prefetch(bytes + i, 1);
  return x + length;
}

// Brings so many bytes to the cache, to be read soon.
inline void prefetch(const uint8_t* x, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(x + i, 0);
}

}  // namespace gact::GACT_TARGET
