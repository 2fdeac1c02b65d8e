// Codes to what was made of their elements: lines, a sum, a mask. See docs/codes.md, "Rebuilding".
#pragma once

#include "bits.h"
#include "dequantize.h"
#include "groups.h"
#include "prefetch.h"
#include "table.h"

#ifdef GACT_SIMD
#include GACT_SIMD
#endif

namespace gact::GACT_TARGET {

// Whole groups of the codes and whole groups of the mask: what is computed at a time, in the nearest cache.
inline int64_t rebuilt_at_once(int64_t group_size) { return group_size < kExactGroup ? kExactGroup : group_size; }

// factor * x + shift, where neighbours have the same factor and shift, or where each has those next to its neighbour's.
GACT_INLINE void apply_run(float* GACT_RESTRICT x, int64_t length, float factor, float shift) {
  for (int64_t i = 0; i < length; ++i) x[i] = x[i] * factor + shift;
}
GACT_INLINE void apply_run(float* GACT_RESTRICT x, int64_t length, const float* GACT_RESTRICT factor,
                           const float* GACT_RESTRICT shift) {
  for (int64_t i = 0; i < length; ++i) x[i] = x[i] * factor[i] + shift[i];
}

// To elements start .. start + length - 1 of the tensor.
inline void apply_line(const Line& line, int64_t start, int64_t length, float* x) {
  int64_t channel = start / line.inner % line.count;
  if (line.inner == 1) {
    for (int64_t i = 0; i < length; channel = 0) {
      const int64_t run = line.count - channel < length - i ? line.count - channel : length - i;
      apply_run(x + i, run, line.factor + channel, line.shift + channel);
      i += run;
    }
    return;
  }
  int64_t left = line.inner - start % line.inner;
  for (int64_t i = 0; i < length; left = line.inner) {
    const int64_t run = left < length - i ? left : length - i;
    apply_run(x + i, run, line.factor[channel], line.shift[channel]);
    if (++channel == line.count) channel = 0;
    i += run;
  }
}

// The bits of a mask from a multiple of its groups on, as bytes.
inline void unpack_mask(const uint8_t* mask, int64_t start, int64_t length, uint8_t* flags) {
  const uint8_t* packed = mask + start / kExactGroup * code_bytes(kExactGroup, 1);
  for (int64_t i = 0; i < length; i += kExactGroup) {
    const int64_t rest = length - i;
    unpack_width<1>(packed, padded_length(rest < kExactGroup ? rest : kExactGroup), flags + i);
    packed += code_bytes(kExactGroup, 1);
  }
}

// Adds what is there if kAdd, then multiplies by `on` or erases if kMask, and writes.
template <bool kAdd, bool kMask, class T>
GACT_INLINE void finish(const float* GACT_RESTRICT x, const uint8_t* GACT_RESTRICT flags, int64_t length, float on,
                        T* GACT_RESTRICT out) {
  int64_t i = 0;
#ifdef GACT_SIMD
  for (; i + kLanes <= length; i += kLanes) {
    Floats value = load_floats(x + i);
    if (kAdd) value = value + load_floats(out + i);
    if (kMask) value = (Floats)((Words)(value * (Floats{} + on)) & (Words{} - load_bytes(flags + i)));
    store_floats<false>(out + i, value);
  }
#endif
  for (; i < length; ++i) {
    float value = x[i];
    if (kAdd) value = value + to_real(out[i]);
    if (kMask) value = flags[i] != 0 ? value * on : 0.0f;
    from_real_unclamped(value, out + i);
  }
}

// As what codes decode to before they are rounded to T.
template <class T>
GACT_INLINE void clamp_all(float*, int64_t) {}
template <>
GACT_INLINE void clamp_all<Float16>(float* x, int64_t length) {
  for (int64_t i = 0; i < length; ++i) {
    const float below = x[i] > 65504.0f ? 65504.0f : x[i];
    x[i] = below < -65504.0f ? -65504.0f : below;
  }
}

// Blocks begin .. end - 1 of `rebuilt_at_once` elements each.
template <class T>
void rebuild(const uint8_t* codes, const void* metadata, int64_t numel, int bits, int64_t group_size, uint64_t seed,
             const Rebuild& how, void* output, int64_t begin, int64_t end) {
  alignas(64) float values[kLargestGroup];
  alignas(64) uint8_t flags[kLargestGroup];
  const GroupCodes<float> groups{codes, metadata, numel, bits, group_size, seed};
  const int64_t size = rebuilt_at_once(group_size);
  const float on = to_real(from_scalar<T>(how.on));
  for (int64_t block = begin; block < end; ++block) {
    const int64_t start = block * size;
    const int64_t length = numel - start < size ? numel - start : size;
    T* out = static_cast<T*>(output) + start;
    prefetch_ahead<true>(out, length);
    for (int64_t i = 0; i < length; i += group_size)
      decode_one(groups, (start + i) / group_size, /*stream=*/false, values + i);
    clamp_all<T>(values, length);
    for (int n = 0; n < how.line_count; ++n) apply_line(how.lines[n], start, length, values);
    if (how.mask != nullptr) {
      unpack_mask(how.mask, start, length, flags);
      how.add ? finish<true, true>(values, flags, length, on, out)
              : finish<false, true>(values, flags, length, on, out);
    } else {
      how.add ? finish<true, false>(values, flags, length, on, out)
              : finish<false, false>(values, flags, length, on, out);
    }
  }
}

}  // namespace gact::GACT_TARGET
