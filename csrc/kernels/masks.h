// One bit per element. See docs/codes.md, "Masks".
#pragma once

#include "bits.h"
#include "floats.h"
#include "groups.h"
#include "prefetch.h"

#ifdef GACT_SIMD
#include GACT_SIMD
#endif

namespace gact::GACT_TARGET {

// The numbers strictly between two bounds, which are rounded to the dtype first. Floats and doubles are compared as
// such. The halves are compared as integers in the order of the reals, where both zeros must fall on the same side of a
// bound.
template <class T>
struct Between {
  T low;
  T high;
  Between(double l, double h) : low(static_cast<T>(l)), high(static_cast<T>(h)) {}
  GACT_INLINE uint8_t operator()(T x) const {
    return static_cast<uint8_t>(static_cast<int>(x > low) & static_cast<int>(x < high));
  }
};

template <class T>
struct BetweenHalves {
  int16_t low;
  int16_t high;
  static int16_t bound(double value, uint16_t zero) {
    T half;
    from_real_unclamped(static_cast<float>(value), &half);
    return ordered(static_cast<int16_t>((half.bits & 0x7FFFu) == 0 ? zero : half.bits));
  }
  BetweenHalves(double l, double h) : low(bound(l, 0)), high(bound(h, 0x8000u)) {
    if (l != l || h != h) low = high = 0;
  }
  GACT_INLINE uint8_t operator()(T x) const {
    const int16_t value = ordered(bit_cast<int16_t>(x));
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
void encode_mask(const void* input, int64_t numel, double low, double high, uint8_t* codes, int64_t begin,
                 int64_t end) {
  alignas(64) uint8_t flags[kExactGroup];
  const Between<T> between(low, high);
  for (int64_t g = begin; g < end; ++g) {
    const int64_t start = g * kExactGroup;
    const int64_t length = numel - start < kExactGroup ? numel - start : kExactGroup;
    const int64_t padded = padded_length(length);
    const T* GACT_RESTRICT x = static_cast<const T*>(input) + start;
    prefetch_ahead<false>(x, length);
    for (int64_t i = 0; i < length; ++i) flags[i] = between(x[i]);
    for (int64_t i = length; i < padded; ++i) flags[i] = 0;
    pack_width<1>(flags, padded, codes + g * code_bytes(kExactGroup, 1));
  }
}

template <class T>
void decode_mask(const uint8_t* codes, int64_t numel, double off, double on, void* output, int64_t begin, int64_t end) {
  // The values as integers, which all compilers select without branches.
  using Bits = typename SignedBits<T>::Integer;
  alignas(64) uint8_t flags[kExactGroup];
  const Bits off_bits = bit_cast<Bits>(from_scalar<T>(off));
  const Bits on_bits = bit_cast<Bits>(from_scalar<T>(on));
  for (int64_t g = begin; g < end; ++g) {
    const int64_t start = g * kExactGroup;
    const int64_t length = numel - start < kExactGroup ? numel - start : kExactGroup;
    auto* GACT_RESTRICT out = static_cast<typename SignedBits<T>::Alias*>(output) + start;
    prefetch_ahead<true>(out, length);
    unpack_width<1>(codes + g * code_bytes(kExactGroup, 1), padded_length(length), flags);
    for (int64_t i = 0; i < length; ++i) out[i] = flags[i] != 0 ? on_bits : off_bits;
  }
}

// The product with one of two factors; a factor of 0 erases.
template <class T, class Real>
GACT_INLINE void apply_flags(const uint8_t* GACT_RESTRICT flags, int64_t length, Real off, Real on,
                             T* GACT_RESTRICT x) {
#ifdef GACT_SIMD
  if constexpr (sizeof(Real) == sizeof(float)) {
    if (length % kLanes == 0) {
      for (int64_t i = 0; i < length; i += kLanes) {
        const Words set = Words{} - load_bytes(flags + i);
        const Floats factor = (Floats)(((Words)(Floats{} + on) & set) | ((Words)(Floats{} + off) & ~set));
        const Floats product = load_floats(x + i) * factor;
        store_floats<false>(x + i, off == 0 ? (Floats)((Words)product & set) : product);
      }
      return;
    }
  }
#endif
  for (int64_t i = 0; i < length; ++i) {
    const Real product = to_real(x[i]) * (flags[i] != 0 ? on : off);
    from_real_unclamped(flags[i] == 0 && off == 0 ? Real(0) : product, x + i);
  }
}

template <class T>
void apply_mask(void* output, int64_t numel, double off, double on, const uint8_t* codes, int64_t begin, int64_t end) {
  alignas(64) uint8_t flags[kExactGroup];
  const auto off_factor = to_real(from_scalar<T>(off));
  const auto on_factor = to_real(from_scalar<T>(on));
  for (int64_t g = begin; g < end; ++g) {
    const int64_t start = g * kExactGroup;
    const int64_t length = numel - start < kExactGroup ? numel - start : kExactGroup;
    T* x = static_cast<T*>(output) + start;
    prefetch_ahead<true>(x, length);
    unpack_width<1>(codes + g * code_bytes(kExactGroup, 1), padded_length(length), flags);
    apply_flags(flags, length, off_factor, on_factor, x);
  }
}

}  // namespace gact::GACT_TARGET
