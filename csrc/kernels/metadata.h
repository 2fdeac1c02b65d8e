// Minimum and scale of a group, and the three kinds of group. See docs/codes.md, "Groups".
#pragma once

#include "floats.h"

namespace gact::GACT_TARGET {

// What differs between the two arithmetics: the stored half-width fields and their directed rounding.
template <class Real>
struct Fields;

template <>
struct Fields<float> {
  using Field = uint16_t;   // a bfloat16
  using Integer = int32_t;  // the bits of a float
  static constexpr int kHalf = 16;
  static constexpr Field kNaN = 0x7FC0;
  static constexpr Field kSign = 0x8000;  // of a scale: the group is dithered
  static GACT_INLINE Field down(float value) {
    const uint32_t bits = bit_cast<uint32_t>(value);
    return static_cast<Field>((bits + ((bits >> 31) != 0 ? 0xFFFFu : 0u)) >> 16);
  }
  static GACT_INLINE Field up(float positive) {
    return static_cast<Field>((bit_cast<uint32_t>(positive) + 0xFFFFu) >> 16);
  }
  static GACT_INLINE float read(Field field) { return bit_cast<float>(static_cast<uint32_t>(field) << 16); }
};

template <>
struct Fields<double> {
  using Field = uint32_t;  // a float
  using Integer = int64_t;
  static constexpr int kHalf = 32;
  static constexpr Field kNaN = 0x7FC00000;
  static constexpr Field kSign = 0x80000000;
  static GACT_INLINE Field step(Field bits, bool away) { return away ? bits + 1 : bits - 1; }
  // Conversion rounds to nearest; one step of the float's bits corrects it where that went the wrong way. A step from
  // +0 downward is the smallest negative float.
  static GACT_INLINE Field down(double value) {
    const float nearest = static_cast<float>(value);
    const Field bits = bit_cast<Field>(nearest);
    if (!(static_cast<double>(nearest) > value)) return bits;
    if (nearest == 0.0f) return 0x80000001u;
    return step(bits, nearest < 0.0f);
  }
  static GACT_INLINE Field up(double positive) {
    const float nearest = static_cast<float>(positive);
    const Field bits = bit_cast<Field>(nearest);
    return static_cast<double>(nearest) < positive ? bits + 1 : bits;
  }
  static GACT_INLINE double read(Field field) { return bit_cast<float>(field); }
};

enum class Kind { kOrdinary, kConstant, kPoisoned };

template <class Real>
struct Group {
  Kind kind;
  typename Fields<Real>::Field minimum;
  typename Fields<Real>::Field scale;
  typename Fields<Real>::Field rest;  // of a constant group: the lower half of its value
};

// Least and greatest element of a group; one of them is NaN or infinite if an element is.
template <class Real>
struct Extremes {
  Real smallest;
  Real largest;
};

// Kind and metadata of a group.
template <class Real>
GACT_INLINE Group<Real> make_group(Extremes<Real> extremes, int bits) {
  using F = Fields<Real>;
  const Real smallest = extremes.smallest + Real(0);  // -0 becomes +0
  const Real largest = extremes.largest + Real(0);
  // Also false for NaN, and for two infinities.
  if (!(largest - smallest < Real(INFINITY))) return {Kind::kPoisoned, F::kNaN, F::kNaN, 0};
  if (smallest == largest) {
    const auto value = bit_cast<typename F::Integer>(smallest);
    return {Kind::kConstant, static_cast<typename F::Field>(value >> F::kHalf), 0,
            static_cast<typename F::Field>(value)};
  }
  constexpr Real kLimit = Real(0x1p100);
  if (largest >= kLimit || smallest <= -kLimit) return {Kind::kPoisoned, F::kNaN, F::kNaN, 0};
  const auto minimum = F::down(smallest);
  const Real step = (largest - F::read(minimum)) / static_cast<Real>((1 << bits) - 1);
  constexpr Real kSmallestScale = Real(0x1p-100);
  return {Kind::kOrdinary, minimum, F::up(step > kSmallestScale ? step : kSmallestScale), 0};
}

}  // namespace gact::GACT_TARGET
