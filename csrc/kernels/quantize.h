// Elements to codes. See docs/codes.md.
#pragma once

#include "bits.h"
#include "groups.h"
#include "metadata.h"
#include "random.h"

namespace gact::GACT_TARGET {

// One group's scale in the form the encoder needs: code = (clamp(round((x - minimum) * inverse), top) + r) >> kFraction. The factor
// 2^kFraction is folded into the inverse, where it changes no rounding (if the product without it is subnormal, t is 0 either way).
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
  GACT_INLINE uint8_t operator()(Real x, uint32_t r) const {
    const int32_t rounded = round_to_integer((x - minimum) * inverse);
    const int32_t t = rounded < top ? rounded : top;
    return static_cast<uint8_t>((static_cast<uint32_t>(t) + r) >> kFraction);
  }
};

template <class Real>
inline void encode_nearest(const Real* GACT_RESTRICT x, int64_t length, Encoder<Real> encode, uint8_t* GACT_RESTRICT codes) {
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
inline Group<Real> measure(const Real* GACT_RESTRICT x, int64_t length, int bits) {
  using Integer = typename Fields<Real>::Integer;
  Integer lowest = ordered(bit_cast<Integer>(x[0]));
  Integer highest = lowest;
  for (int64_t i = 0; i < length; ++i) {
    const Integer value = ordered(bit_cast<Integer>(x[i]));
    lowest = value < lowest ? value : lowest;
    highest = value > highest ? value : highest;
  }
  return make_group<Real>(lowest, highest, bits);
}

// Groups begin .. end - 1 of a tensor.
template <class T>
void quantize(const void* input, int64_t numel, int bits, int64_t group_size, uint64_t seed, bool stochastic, uint8_t* codes,
              void* metadata, int64_t begin, int64_t end) {
  using Real = typename Arithmetic<T>::Real;
  using Field = typename Fields<Real>::Field;
  alignas(64) uint8_t unpacked[kLargestGroup];
  alignas(64) Real converted[kLargestGroup];
  const int64_t bytes = code_bytes(group_size, bits);
  for (int64_t g = begin; g < end; ++g) {
    const int64_t start = g * group_size;
    const int64_t length = numel - start < group_size ? numel - start : group_size;
    const int64_t padded = padded_length(length);
    const Real* x = real_view(static_cast<const T*>(input) + start, length, converted);
    const Group<Real> group = measure(x, length, bits);
    Field fields[2] = {group.minimum, group.scale};
    __builtin_memcpy(static_cast<uint8_t*>(metadata) + g * sizeof(fields), fields, sizeof(fields));
    uint8_t* out = codes + g * bytes;
    if (group.kind != Kind::kOrdinary) {
      __builtin_memset(out, 0, static_cast<size_t>(code_bytes(length, bits)));
      __builtin_memcpy(out, &group.rest, sizeof(group.rest));
      continue;
    }
    const Encoder<Real> encode(group, bits);
    if (stochastic) {
      encode_stochastic(x, length, group_size / 2, group_key(seed, g), encode, unpacked);
    } else {
      encode_nearest(x, length, encode, unpacked);
    }
    for (int64_t i = length; i < padded; ++i) unpacked[i] = 0;
    pack_group(unpacked, padded, bits, out);
  }
}

}  // namespace gact::GACT_TARGET
