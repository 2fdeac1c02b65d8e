// NOTE [one source, several instruction sets]
// The kernel headers are compiled once for every instruction set: each of the target_*.cpp files names a namespace
// (GACT_TARGET), switches the compiler to its instruction set with a pragma and includes kernels.h. Everything between
// the pragmas must live in that namespace and must not instantiate templates of the standard library: the linker keeps
// only one copy of such an instantiation, and it could be the one that an older machine cannot run.
//
// Plain loops, which the compiler turns into vectors, are the kernels of every instruction set. Where it does that
// badly (narrowing to bytes, float16, minima of floats), GACT_SIMD names a header with a few vector operations, and
// full groups are computed with those; codes and elements are the same to the bit.
#pragma once

#ifndef GACT_TARGET
#error "Define GACT_TARGET (the namespace of an instruction set) before including the kernels."
#endif

#define GACT_RESTRICT __restrict
#define GACT_INLINE inline __attribute__((always_inline))
