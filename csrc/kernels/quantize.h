// Elements to codes. See docs/codes.md.
#pragma once

#include "bits.h"
#include "encode.h"
#include "groups.h"
#include "measure.h"
#include "metadata.h"
#include "prefetch.h"
#include "random.h"

namespace gact::GACT_TARGET {

// Codes of an ordinary group, one byte each.
template <class T, class Real>
inline void encode_group(const T* x, int64_t length, int64_t group_size, Encoder<Real> encode, Key key,
                         Rounding rounding, uint8_t* codes) {
#ifdef GACT_SIMD
  if constexpr (sizeof(Real) == sizeof(float)) {
    if (length == group_size && group_size >= kEncodeWhole) {
      switch (rounding) {
        case Rounding::kNearest: return encode_vectors<Rounding::kNearest>(x, group_size, encode, key, codes);
        case Rounding::kStochastic: return encode_vectors<Rounding::kStochastic>(x, group_size, encode, key, codes);
        case Rounding::kDithered: return encode_vectors<Rounding::kDithered>(x, group_size, encode, key, codes);
      }
    }
  }
#endif
  alignas(64) Real converted[kLargestGroup];
  const Real* reals = real_view(x, length, converted);
  switch (rounding) {
    case Rounding::kNearest: encode_nearest(reals, length, encode, codes); break;
    case Rounding::kStochastic: encode_stochastic(reals, length, group_size / 2, key, encode, codes); break;
    case Rounding::kDithered: encode_dithered(reals, length, group_size / 2, key, encode, codes); break;
  }
  const int64_t padded = padded_length(length);
  for (int64_t i = length; i < padded; ++i) codes[i] = 0;
}

// Groups begin .. end - 1 of a tensor. The next group is measured before the current one is encoded: its metadata take
// a chain of slow operations, which then run while there is other work.
template <class T>
void quantize(const void* input, int64_t numel, int bits, int64_t group_size, uint64_t seed, Rounding rounding,
              uint8_t* codes, void* metadata, int64_t begin, int64_t end) {
  using Real = typename Arithmetic<T>::Real;
  using Field = typename Fields<Real>::Field;
  alignas(64) uint8_t unpacked[kLargestGroup];
  const auto* x = static_cast<const T*>(input);
  const int64_t bytes = code_bytes(group_size, bits);
  const auto length_of = [=](int64_t g) {
    return numel - g * group_size < group_size ? numel - g * group_size : group_size;
  };
  const auto measured = [=](int64_t g) { return make_group(measure(x + g * group_size, length_of(g)), bits); };
  Group<Real> next = measured(begin);
  for (int64_t g = begin; g < end; ++g) {
    const Group<Real> group = next;
    const int64_t length = length_of(g);
    prefetch_ahead<false>(x + g * group_size, length);
    if (g + 1 < end) next = measured(g + 1);
    Field fields[2] = {group.minimum, group.scale};
    const auto write_fields = [&] {
      __builtin_memcpy(static_cast<uint8_t*>(metadata) + g * sizeof(fields), fields, sizeof(fields));
    };
    uint8_t* out = codes + g * bytes;
    if (group.kind != Kind::kOrdinary) {
      __builtin_memset(out, 0, static_cast<size_t>(code_bytes(length, bits)));
      __builtin_memcpy(out, &group.rest, sizeof(group.rest));
      write_fields();
      continue;
    }
    const Encoder<Real> encode(group, bits);
    Rounding how = rounding;
    if (rounding == Rounding::kDithered) {
      if (dither_pays(x + g * group_size, length, encode)) {
        fields[1] |= Fields<Real>::kSign;
      } else {
        how = Rounding::kStochastic;
      }
    }
    write_fields();
    encode_group(x + g * group_size, length, group_size, encode, group_key(seed, g), how, unpacked);
    kPack[bits](unpacked, padded_length(length), out);
  }
}

}  // namespace gact::GACT_TARGET
