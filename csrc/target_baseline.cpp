// The kernels for every machine the compiler's defaults allow: x86-64 with SSE2, aarch64 with NEON.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/groups.h"
#include "kernels/table.h"

#define GACT_TARGET baseline
#define GACT_NAME "baseline"

#include "kernels/kernels.h"

namespace gact {
const Kernels& baseline_kernels() { return baseline::kKernels; }
}  // namespace gact
