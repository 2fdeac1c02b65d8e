// Which instruction set's kernels run.
#pragma once

#include "kernels/table.h"

#if defined(_WIN32)
#define GACT_EXPORT extern "C" __declspec(dllexport)
#else
#define GACT_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace gact {

const Kernels& active_kernels();

}  // namespace gact

// The name of the instruction set in use.
GACT_EXPORT const char* gact_instruction_set();

// Uses another instruction set from the next call on. Returns 1, or 0 if the name is unknown or this machine lacks it.
GACT_EXPORT int gact_use_instruction_set(const char* name);

// 1 if this machine can run the kernels of that name, else 0.
GACT_EXPORT int gact_has_instruction_set(const char* name);
