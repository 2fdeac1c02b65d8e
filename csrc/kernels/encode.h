// Elements of an ordinary group to codes of one byte each. See docs/codes.md, "Groups" and "Rounding".
#pragma once

#include "groups.h"
#include "metadata.h"
#include "random.h"
#include "table.h"

#ifdef GACT_SIMD
#include GACT_SIMD
#endif

namespace gact::GACT_TARGET {

// One group's scale in the form the encoder needs: code = (clamp(round((x - minimum) * inverse), top) + r) >>
// kFraction. The factor 2^kFraction is folded into the inverse, where it changes no rounding (if the product without it
// is subnormal, t is 0 either way).
template <class Real>
struct Encoder {
  Real minimum;
  Real inverse;
  int32_t top;

  Encoder(const Group<Real>& group, int bits)
      : minimum(Fields<Real>::read(group.minimum)),
        inverse(Real(1) / Fields<Real>::read(group.scale) * Real(1 << kFraction)),
        top(((1 << bits) - 1) << kFraction) {}

  // No lower clamp: x >= minimum in an ordinary group.
  GACT_INLINE int32_t fixed_point(Real x) const {
    const int32_t rounded = round_to_integer((x - minimum) * inverse);
    return rounded < top ? rounded : top;
  }

  GACT_INLINE uint8_t operator()(Real x, uint32_t r) const {
    return static_cast<uint8_t>((static_cast<uint32_t>(fixed_point(x)) + r) >> kFraction);
  }
};

template <class Real>
inline void encode_nearest(const Real* GACT_RESTRICT x, int64_t length, Encoder<Real> encode,
                           uint8_t* GACT_RESTRICT codes) {
  for (int64_t i = 0; i < length; ++i) codes[i] = encode(x[i], 1u << (kFraction - 1));
}

// Elements i and i + half share one hash; a short last group may lack the second.
template <class Real>
inline void encode_stochastic(const Real* GACT_RESTRICT x, int64_t length, int64_t half, Key key, Encoder<Real> encode,
                              uint8_t* GACT_RESTRICT codes) {
  const int64_t pairs = length > half ? length - half : 0;
  const Real* high = x + half;
  uint8_t* high_codes = codes + half;
  for (int64_t i = 0; i < pairs; ++i) {
    const uint32_t h = pair_hash(key, static_cast<uint32_t>(i));
    codes[i] = encode(x[i], low_bits(h));
    high_codes[i] = encode(high[i], high_bits(h));
  }
  const int64_t rest = length < half ? length : half;
  for (int64_t i = pairs; i < rest; ++i) codes[i] = encode(x[i], low_bits(pair_hash(key, static_cast<uint32_t>(i))));
}

template <class Real>
inline void encode_dithered(const Real* GACT_RESTRICT x, int64_t length, int64_t half, Key key, Encoder<Real> encode,
                            uint8_t* GACT_RESTRICT codes) {
  const SharedBits shared(key, length);
  for (int64_t j = 0; j < length; ++j) {
    const uint32_t h = pair_hash(key, static_cast<uint32_t>(j % half));
    codes[j] = encode(x[j], dither(shared(j), j < half ? low_bits(h) : high_bits(h)));
  }
}

// Whether dither leaves less variance in a group than plain stochastic rounding, judged by its first elements: 17/192
// of the squared scale against the mean of f (1 - f), f being what a value has beyond a level.
constexpr int64_t kJudged = 64;

template <class T, class Real>
GACT_INLINE bool judge(const T* GACT_RESTRICT x, int64_t judged, Encoder<Real> encode) {
  int32_t sum = 0;
  for (int64_t j = 0; j < judged; ++j) {
    const int32_t f = encode.fixed_point(to_real(x[j])) & ((1 << kFraction) - 1);
    sum += (f * ((1 << kFraction) - f)) >> kFraction;
  }
  return 192 * static_cast<int64_t>(sum) > (17ll << kFraction) * judged;
}

template <class T, class Real>
inline bool dither_pays(const T* x, int64_t length, Encoder<Real> encode) {
  return length < kJudged ? judge(x, length, encode) : judge(x, kJudged, encode);
}

#ifdef GACT_SIMD
constexpr int64_t kEncodeWhole = 8 * kLanes;               // the smallest group that encode_whole takes
constexpr int64_t kSharedVectors = kSharedLanes / kLanes;  // vectors that share no hash

// What the counters of the lanes of a vector are ahead of that of its first.
struct LaneSteps {
  uint32_t values[kLanes] = {};
  constexpr LaneSteps() {
    for (uint32_t lane = 0; lane < kLanes; ++lane) values[lane] = lane * kHashStep;
  }
};
constexpr LaneSteps kLaneSteps;

// Codes of one vector, not clamped: the products exceed `top` by 2 at most, so that a code exceeds the largest by 1 at
// most. Clamping the codes then gives what clamping the products would.
template <class T>
GACT_INLINE Words encode_vector(const T* x, Encoder<float> encode, Words r) {
  return (round_to_words((load_floats(x) - encode.minimum) * encode.inverse) + r) >> kFraction;
}

// The hashes of a vector of counters up to their last step, h ^ (h >> 16), which the bits that are used need in part
// only. Shifting and exclusive or commute, so the key is applied together with its shifted self.
GACT_INLINE Words hash_vector(Words counter, uint32_t key) {
  const Words h = (counter ^ (counter >> 16)) * 0x7FEB352Du;
  return exclusive_or(h, h >> 15, Words{} + (key ^ (key >> 15))) * 0x846CA68Bu;
}

// Random numbers of a vector of elements, `dither` in vectors, from words that hold them in their lowest bits. The
// vector is the v-th of those whose shared bits begin at the lowest bits of `shared`.
template <Rounding kRounding>
GACT_INLINE Words random_vector(const Words* shared, int64_t v, Words r) {
  if (kRounding != Rounding::kDithered) return r & ((1u << kFraction) - 1u);
  const Words moved = shared[v % kSharedVectors] << static_cast<int>(kFraction - 2 - 2 * (v / kSharedVectors));
  return select(Words{} + ((1u << (kFraction - 2)) - 1u), r, moved & (3u << (kFraction - 2)));
}

// A full group, four vectors of each half at a time.
template <Rounding kRounding, class T>
GACT_INLINE void encode_whole(const T* GACT_RESTRICT x, int64_t group_size, Encoder<float> encode, Key key,
                              uint8_t* GACT_RESTRICT codes) {
  const int64_t half = group_size / 2;
  const auto top = static_cast<uint8_t>(encode.top >> kFraction);
  const SharedBits shared(key, kRounding == Rounding::kDithered ? group_size : 0);
  Words counter = load_words(kLaneSteps.values) + key.low;
  for (int64_t i = 0; i < half; i += 4 * kLanes) {
    Words low[4];
    Words high[4];
    Words low_shared[kSharedVectors];
    Words high_shared[kSharedVectors];
    for (int64_t v = 0; v < kSharedVectors && kRounding == Rounding::kDithered; ++v) {
      low_shared[v] = load_words(shared.at(i + v * kLanes)) >> SharedBits::shift(i);
      high_shared[v] = load_words(shared.at(half + i + v * kLanes)) >> SharedBits::shift(half + i);
    }
    for (int64_t v = 0; v < 4; ++v) {
      Words low_r = Words{} + (1u << (kFraction - 1));
      Words high_r = low_r;
      if (kRounding != Rounding::kNearest) {
        const Words h = hash_vector(counter, key.high);
        counter += static_cast<uint32_t>(kLanes) * kHashStep;
        low_r = random_vector<kRounding>(low_shared, v, h ^ (h >> 16));
        high_r = random_vector<kRounding>(high_shared, v, h >> (32 - kFraction));
      }
      low[v] = encode_vector(x + i + v * kLanes, encode, low_r);
      high[v] = encode_vector(x + half + i + v * kLanes, encode, high_r);
    }
    store_bytes(codes + i, low[0], low[1], low[2], low[3], top);
    store_bytes(codes + half + i, high[0], high[1], high[2], high[3], top);
  }
}

// The usual size is a constant, for loops without ends.
template <Rounding kRounding, class T>
inline void encode_vectors(const T* x, int64_t group_size, Encoder<float> encode, Key key, uint8_t* codes) {
  group_size == kUsualGroup ? encode_whole<kRounding>(x, kUsualGroup, encode, key, codes)
                            : encode_whole<kRounding>(x, group_size, encode, key, codes);
}
#endif

}  // namespace gact::GACT_TARGET
