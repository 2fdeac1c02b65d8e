// Memory of codes that is kept for the next code when a tensor gives it back.
#pragma once

#include <cstdint>

#include "bindings.h"
#include "dispatch.h"

namespace gact {

// A new tensor for codes or metadata: as `empty`, but large ones use kept memory again.
Tensor empty_code(const int64_t* size, const int64_t* stride, size_t dims, ScalarType dtype);

inline Tensor empty_code_bytes(int64_t count) {
  const int64_t stride = 1;
  return empty_code(&count, &stride, 1, ScalarType::Byte);
}

}  // namespace gact

// Bytes that are kept free now.
GACT_EXPORT int64_t gact_arena_kept();

// Keeps at most so many bytes from now on and gives the rest back to the system.
GACT_EXPORT void gact_arena_limit(int64_t bytes);
