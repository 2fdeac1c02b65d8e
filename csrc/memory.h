// Memory of large results.
#pragma once

#include <cstdint>

namespace gact {

// From this size on a result is allocated in huge pages.
constexpr int64_t kHugeBytes = int64_t{4} << 20;

// Asks for huge pages for fresh memory, where the system has them on request: the first access to a page of 4 KiB costs as much as
// decoding several of them. Does nothing to small memory.
void use_huge_pages(void* data, int64_t bytes);

// From this size on writing past the caches is faster even if the result is read next, as long as the memory has been in use: the old
// contents need not be read, and the first part of the result would have left the caches in any case.
constexpr int64_t kStreamBytes = int64_t{32} << 20;

}  // namespace gact
