// One bit per element. See docs/codes.md, "Masks".
#pragma once

#include "bits.h"
#include "floats.h"
#include "groups.h"

namespace gact::GACT_TARGET {

// The numbers strictly between two bounds, which are rounded to the dtype first. Floats and doubles are compared as such. The halves
// are compared as integers in the order of the reals, where both zeros must fall on the same side of a bound.
template <class T>
struct Between {
  T low;
  T high;
  Between(double l, double h) : low(static_cast<T>(l)), high(static_cast<T>(h)) {}
  GACT_INLINE uint8_t operator()(T x) const { return static_cast<uint8_t>(static_cast<int>(x > low) & static_cast<int>(x < high)); }
};

template <class T>
struct BetweenHalves {
  int16_t low;
  int16_t high;
  static GACT_INLINE int16_t ordered_half(uint16_t bits) {
    const auto value = static_cast<int16_t>(bits);
    return static_cast<int16_t>(value ^ ((value >> 15) & 0x7FFF));
  }
  static int16_t bound(double value, uint16_t zero) {
    T half;
    from_real_unclamped(static_cast<float>(value), &half);
    return ordered_half((half.bits & 0x7FFFu) == 0 ? zero : half.bits);
  }
  BetweenHalves(double l, double h) : low(bound(l, 0)), high(bound(h, 0x8000u)) {
    if (l != l || h != h) low = high = 0;
  }
  GACT_INLINE uint8_t operator()(T x) const {
    const int16_t value = ordered_half(x.bits);
    return static_cast<uint8_t>(static_cast<int>(value > low) & static_cast<int>(value < high));
  }
};

template <>
struct Between<BFloat16> : BetweenHalves<BFloat16> {
  using BetweenHalves::BetweenHalves;
};
template <>
struct Between<Float16> : BetweenHalves<Float16> {
  using BetweenHalves::BetweenHalves;
};

template <>
struct Between<Bool> {
  uint8_t off;
  uint8_t on;
  Between(double l, double h) : off(l < 0 && 0 < h), on(l < 1 && 1 < h) {}
  GACT_INLINE uint8_t operator()(Bool x) const { return x.byte != 0 ? on : off; }
};

template <class T>
void encode_mask(const void* input, int64_t numel, double low, double high, uint8_t* codes, int64_t begin, int64_t end) {
  alignas(64) uint8_t flags[kExactGroup];
  const Between<T> between(low, high);
  for (int64_t g = begin; g < end; ++g) {
    const int64_t start = g * kExactGroup;
    const int64_t length = numel - start < kExactGroup ? numel - start : kExactGroup;
    const int64_t padded = padded_length(length);
    const T* GACT_RESTRICT x = static_cast<const T*>(input) + start;
    for (int64_t i = 0; i < length; ++i) flags[i] = between(x[i]);
    for (int64_t i = length; i < padded; ++i) flags[i] = 0;
    pack_plane<1>(flags, padded, 0, codes + g * code_bytes(kExactGroup, 1));
  }
}

template <class T>
void decode_mask(const uint8_t* codes, int64_t numel, double off, double on, void* output, int64_t begin, int64_t end) {
  alignas(64) uint8_t flags[kExactGroup];
  T off_value;
  T on_value;
  from_scalar(off, &off_value);
  from_scalar(on, &on_value);
  for (int64_t g = begin; g < end; ++g) {
    const int64_t start = g * kExactGroup;
    const int64_t length = numel - start < kExactGroup ? numel - start : kExactGroup;
    T* GACT_RESTRICT out = static_cast<T*>(output) + start;
    unpack_plane<1>(codes + g * code_bytes(kExactGroup, 1), padded_length(length), 0, flags);
    for (int64_t i = 0; i < length; ++i) out[i] = flags[i] != 0 ? on_value : off_value;
  }
}

template <class T>
void apply_mask(void* output, int64_t numel, double off, double on, const uint8_t* codes, int64_t begin, int64_t end) {
  using Real = typename Arithmetic<T>::Real;
  alignas(64) uint8_t flags[kExactGroup];
  T off_value;
  T on_value;
  from_scalar(off, &off_value);
  from_scalar(on, &on_value);
  const Real off_factor = to_real(off_value);
  const Real on_factor = to_real(on_value);
  const bool erase = off_factor == 0;
  for (int64_t g = begin; g < end; ++g) {
    const int64_t start = g * kExactGroup;
    const int64_t length = numel - start < kExactGroup ? numel - start : kExactGroup;
    T* GACT_RESTRICT x = static_cast<T*>(output) + start;
    unpack_plane<1>(codes + g * code_bytes(kExactGroup, 1), padded_length(length), 0, flags);
    if (erase) {
      for (int64_t i = 0; i < length; ++i) {
        const Real product = to_real(x[i]) * on_factor;
        from_real_unclamped(flags[i] != 0 ? product : Real(0), x + i);
      }
    } else {
      for (int64_t i = 0; i < length; ++i) from_real_unclamped(to_real(x[i]) * (flags[i] != 0 ? on_factor : off_factor), x + i);
    }
  }
}

}  // namespace gact::GACT_TARGET
