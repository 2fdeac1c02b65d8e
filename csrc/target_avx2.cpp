// The kernels for machines with AVX2. See the note in kernels/target.h.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/groups.h"
#include "kernels/table.h"

#define GACT_TARGET avx2
#define GACT_NAME "avx2"
#define GACT_SIMD "simd_avx2.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")
#endif

#include "kernels/kernels.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace gact {
const Kernels& avx2_kernels() { return avx2::kKernels; }
}  // namespace gact

#endif
