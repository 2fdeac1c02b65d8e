// Reading and writing the four dtypes, and the directed rounding of metadata.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "target.h"

namespace gact::GACT_TARGET {

template <class To, class From>
GACT_INLINE To bit_cast(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To result;
  __builtin_memcpy(&result, &value, sizeof(result));
  return result;
}

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};
struct Bool {
  uint8_t byte;
};

// The type in which the elements of a dtype are computed, and its integers.
template <class T>
struct Arithmetic {
  using Real = float;
};
template <>
struct Arithmetic<double> {
  using Real = double;
};

// The signed integer of the same size, and its name for memory that holds elements.
template <class T>
struct SignedBits {
  using Integer = int16_t;
  typedef int16_t __attribute__((may_alias)) Alias;
};
template <>
struct SignedBits<Bool> {
  using Integer = int8_t;
  typedef int8_t __attribute__((may_alias)) Alias;
};
template <>
struct SignedBits<float> {
  using Integer = int32_t;
  typedef int32_t __attribute__((may_alias)) Alias;
};
template <>
struct SignedBits<double> {
  using Integer = int64_t;
  typedef int64_t __attribute__((may_alias)) Alias;
};

// A signed integer in the order of the reals, its own inverse. NaN lies beyond the infinities, on the side of its sign.
template <class Integer>
GACT_INLINE Integer ordered(Integer bits) {
  constexpr int kSign = static_cast<int>(sizeof(Integer)) * 8 - 1;
  constexpr Integer kMagnitude = static_cast<Integer>(~(uint64_t{1} << kSign));
  return static_cast<Integer>(bits ^ ((bits >> kSign) & kMagnitude));
}

GACT_INLINE float to_real(float value) { return value; }
GACT_INLINE double to_real(double value) { return value; }
GACT_INLINE float to_real(BFloat16 value) { return bit_cast<float>(static_cast<uint32_t>(value.bits) << 16); }

// Moves the half's exponent and mantissa to a float's place and corrects the exponent by a product, which is exact for
// subnormal halves too; a half's infinity and NaN keep the largest exponent.
GACT_INLINE float to_real(Float16 value) {
  const uint32_t magnitude = static_cast<uint32_t>(value.bits & 0x7FFFu) << 13;
  const float scaled = bit_cast<float>(magnitude) * 0x1p112f;
  const uint32_t special = magnitude >= (0x7C00u << 13) ? 0x7F800000u : 0u;
  return bit_cast<float>(bit_cast<uint32_t>(scaled) | special | (static_cast<uint32_t>(value.bits & 0x8000u) << 16));
}

// The elements as reals: float and double are read in place, the halves are converted into the buffer.
GACT_INLINE const float* real_view(const float* x, int64_t, float*) { return x; }
GACT_INLINE const double* real_view(const double* x, int64_t, double*) { return x; }

template <class T>
GACT_INLINE const float* real_view(const T* GACT_RESTRICT x, int64_t length, float* GACT_RESTRICT buffer) {
  for (int64_t i = 0; i < length; ++i) buffer[i] = to_real(x[i]);
  return buffer;
}

// Round half to even.
GACT_INLINE void from_real(float value, float* out) { *out = value; }
GACT_INLINE void from_real(double value, double* out) { *out = value; }
GACT_INLINE void from_real(double value, float* out) { *out = static_cast<float>(value); }
GACT_INLINE void from_real(float value, double* out) { *out = value; }

GACT_INLINE void from_real(float value, BFloat16* out) {
  const uint32_t bits = bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  out->bits = static_cast<uint16_t>(value == value ? rounded : 0x7FC0u);
}

// Below 2^-14 adding and subtracting 1/2 lets the float unit round to the half's subnormal step.
GACT_INLINE uint32_t half_of_magnitude(float magnitude) {
  const uint32_t bits = bit_cast<uint32_t>(magnitude);
  const uint32_t normal = (bits - (112u << 23) + 0xFFFu + ((bits >> 13) & 1u)) >> 13;
  const uint32_t subnormal = bit_cast<uint32_t>(magnitude + 0.5f) - 0x3F000000u;
  return bits < (113u << 23) ? subnormal : normal;
}

GACT_INLINE void join_half(float value, uint32_t magnitude, Float16* out) {
  const uint32_t sign = (bit_cast<uint32_t>(value) >> 16) & 0x8000u;
  out->bits = static_cast<uint16_t>(value == value ? (magnitude | sign) : 0x7E00u);
}

// The value is clamped to what the half can hold, so only NaN is special.
GACT_INLINE void from_real(float value, Float16* out) {
  const float magnitude = bit_cast<float>(bit_cast<uint32_t>(value) & 0x7FFFFFFFu);
  join_half(value, half_of_magnitude(magnitude > 65504.0f ? 65504.0f : magnitude), out);
}

GACT_INLINE int32_t round_to_integer(float value) {
#if defined(__GNUC__) && !defined(__clang__)
  return __builtin_irintf(value);
#else
  return static_cast<int32_t>(__builtin_rintf(value));
#endif
}

GACT_INLINE int32_t round_to_integer(double value) {
#if defined(__GNUC__) && !defined(__clang__)
  return __builtin_irint(value);
#else
  return static_cast<int32_t>(__builtin_rint(value));
#endif
}

GACT_INLINE void from_real(double value, BFloat16* out) { from_real(static_cast<float>(value), out); }
GACT_INLINE void from_real(double value, Float16* out) { from_real(static_cast<float>(value), out); }

// The same, but what is too large for a half becomes an infinity.
GACT_INLINE void from_real_unclamped(float value, Float16* out) {
  const float magnitude = bit_cast<float>(bit_cast<uint32_t>(value) & 0x7FFFFFFFu);
  join_half(value, magnitude >= 65520.0f ? 0x7C00u : half_of_magnitude(magnitude), out);
}

template <class Real, class T>
GACT_INLINE void from_real_unclamped(Real value, T* out) {
  from_real(value, out);
}

// A number given by a caller in a dtype, the halves by way of float.
template <class T>
inline T from_scalar(double value) {
  T result;
  from_real_unclamped(static_cast<typename Arithmetic<T>::Real>(value), &result);
  return result;
}
template <>
inline Bool from_scalar<Bool>(double value) {
  return {static_cast<uint8_t>(value != 0)};
}

}  // namespace gact::GACT_TARGET
