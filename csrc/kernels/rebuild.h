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

// What a mask does to an element whose bit is 1; one whose bit is 0 becomes 0.
enum class Masking { kNone, kKeeps, kScales };

// What is done to a value on its way to its place.
template <bool kAdd, Masking kMask>
struct Ending {};

// Calls with the ending that is wanted.
template <bool kAdd, class Call>
GACT_INLINE void with_masking(const Rebuild& how, float on, Call call) {
  if (how.mask == nullptr) {
    call(Ending<kAdd, Masking::kNone>{});
  } else if (on == 1.0f) {
    call(Ending<kAdd, Masking::kKeeps>{});
  } else {
    call(Ending<kAdd, Masking::kScales>{});
  }
}
template <class Call>
GACT_INLINE void with_ending(const Rebuild& how, float on, Call call) {
  how.add ? with_masking<true>(how, on, call) : with_masking<false>(how, on, call);
}

#ifdef GACT_SIMD
// What `finish` does, for a vector.
template <bool kAdd, Masking kMask, class T>
GACT_INLINE void finish_vector(Floats value, const uint8_t* flags, Floats on, T* out) {
  if (kAdd) value = value + load_floats(out);
  if (kMask == Masking::kScales) value = value * on;
  if (kMask != Masking::kNone) value = where(flags, value);
  store_floats<false>(out, value);
}
#endif

// Adds what is there if kAdd, then multiplies by `on` or erases as the mask says, and writes.
template <bool kAdd, Masking kMask, class T>
GACT_INLINE void finish(Ending<kAdd, kMask>, const float* GACT_RESTRICT x, const uint8_t* GACT_RESTRICT flags,
                        int64_t length, float on, T* GACT_RESTRICT out) {
  int64_t i = 0;
#ifdef GACT_SIMD
  for (; i + kLanes <= length; i += kLanes)
    finish_vector<kAdd, kMask>(load_floats(x + i), flags + i, all(on), out + i);
#endif
  for (; i < length; ++i) {
    float value = x[i];
    if (kAdd) value = value + to_real(out[i]);
    if (kMask == Masking::kScales) value = value * on;
    if (kMask != Masking::kNone) value = flags[i] != 0 ? value : 0.0f;
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

#ifdef GACT_SIMD
constexpr uint32_t kLaneNumbers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// No line.
struct Unchanged {
  GACT_INLINE Floats operator()(Floats x) { return x; }
};

// A line of one channel.
struct Same {
  Floats factor;
  Floats shift;

  GACT_INLINE Floats operator()(Floats x) { return x * factor + shift; }
};

// A line for vectors one after the other. At least kLanes neighbours share a channel, so that a vector meets two at
// most.
struct Along {
  const Line& line;
  int64_t channel;
  int64_t left;  // elements of the channel

  GACT_INLINE Along(const Line& line, int64_t start)
      : line(line), channel(start / line.inner % line.count), left(line.inner - start % line.inner) {}

  GACT_INLINE Same same() const { return {all(line.factor[channel]), all(line.shift[channel])}; }

  GACT_INLINE Floats operator()(Floats x) {
    Floats factor = all(line.factor[channel]);
    Floats shift = all(line.shift[channel]);
    if (left <= kLanes) {
      if (++channel == line.count) channel = 0;
      const Words here = (Words)(load_words(kLaneNumbers) < Words{} + static_cast<uint32_t>(left));
      factor = (Floats)select(here, (Words)factor, (Words)all(line.factor[channel]));
      shift = (Floats)select(here, (Words)shift, (Words)all(line.shift[channel]));
      left += line.inner;
    }
    left -= kLanes;
    return x * factor + shift;
  }
};

// A line for vectors one after the other, where neighbours have channels next to each other and there are as many as
// fill vectors.
struct Across {
  const Line& line;
  int64_t channel;

  GACT_INLINE Across(const Line& line, int64_t start) : line(line), channel(start % line.count) {}

  GACT_INLINE Floats operator()(Floats x) {
    const Floats result = x * load_floats(line.factor + channel) + load_floats(line.shift + channel);
    channel += kLanes;
    if (channel == line.count) channel = 0;
    return result;
  }

  static bool fits(const Line& line) { return line.inner == 1 && line.count % kLanes == 0; }
};

// Takes decoded vectors under a line, then to their place.
template <bool kAdd, Masking kMask, class T, class Under>
struct Rebuilt {
  Under under;
  const uint8_t* GACT_RESTRICT flags;
  Floats on;
  T* GACT_RESTRICT out;

  GACT_INLINE void operator()(int64_t i, Floats decoded) {
    finish_vector<kAdd, kMask>(under(clamp_to<T>(decoded)), flags + i, on, out + i);
  }
};

// A group from its codes of one byte each. Not inline, or the compiler keeps all that is read in registers, of which
// there are too few.
template <bool kAdd, Masking kMask, class T, class Under>
__attribute__((noinline)) void rebuild_unpacked(Ending<kAdd, kMask>, const uint8_t* unpacked, float minimum,
                                                float scale, const SharedBits* shared, Under under,
                                                const uint8_t* flags, float on, T* out) {
  const Rebuilt<kAdd, kMask, T, Under> emit{under, flags, all(on), out};
  shared != nullptr ? decode_dithered_vectors(unpacked, kUsualGroup, minimum, scale, *shared, emit)
                    : decode_vectors(unpacked, kUsualGroup, minimum, scale, emit);
}

// A full group of the usual size without a way through memory for each of the parts; false where it must go that way.
template <class T>
GACT_INLINE bool rebuild_usual_group(const GroupCodes<float>& of, const Rebuild& how, int64_t start, int64_t length,
                                     float on, T* out) {
  using F = Fields<float>;
  alignas(64) uint8_t unpacked[kUsualGroup];
  alignas(64) uint8_t flags[kUsualGroup];
  if (of.group_size != kUsualGroup || length != kUsualGroup || how.line_count > 1) return false;
  if (how.line_count == 1 && how.lines[0].inner < kLanes && !Across::fits(how.lines[0])) return false;
  const int64_t g = start / kUsualGroup;
  F::Field fields[2];
  __builtin_memcpy(fields, static_cast<const uint8_t*>(of.metadata) + g * sizeof(fields), sizeof(fields));
  const bool dithered = fields[1] & F::kSign;
  const float minimum = F::read(fields[0]);
  const float scale = F::read(static_cast<F::Field>(dithered ? fields[1] ^ F::kSign : fields[1]));
  // A constant or poisoned group.
  if (fields[1] == 0 || !(minimum * 0 + scale * 0 == 0)) return false;
  kUnpack[of.bits](of.codes + g * code_bytes(kUsualGroup, of.bits), kUsualGroup, unpacked);
  if (how.mask != nullptr) unpack_mask(how.mask, start, kUsualGroup, flags);
  const SharedBits shared(group_key(of.seed, g), dithered ? kUsualGroup : 0);
  const SharedBits* bits = dithered ? &shared : nullptr;
  const auto under = [&](auto line) {
    with_ending(how, on, [&](auto ending) {
      rebuild_unpacked(ending, unpacked, minimum, scale, bits, line, flags, on, out);
    });
  };
  if (how.line_count == 0) {
    under(Unchanged{});
  } else if (Across::fits(how.lines[0])) {
    under(Across(how.lines[0], start));
  } else {
    const Along along(how.lines[0], start);
    along.left >= kUsualGroup ? under(along.same()) : under(along);
  }
  return true;
}
#endif

// Elements start .. stop - 1, from a multiple of whole groups on. Meanwhile memory is asked for from `ahead` on, one
// element for each `share` that are computed.
template <class T>
void rebuild_term(const Term& term, int64_t numel, T* output, int64_t start, int64_t stop, const T* ahead,
                  int64_t share) {
  alignas(64) float values[kLargestGroup];
  alignas(64) uint8_t flags[kLargestGroup];
  const Rebuild& how = term.how;
  const GroupCodes<float> groups{term.codes, term.metadata, numel, term.bits, term.group_size, term.seed};
  const int64_t size = rebuilt_at_once(term.group_size);
  const float on = to_real(from_scalar<T>(how.on));
  for (; start < stop; start += size) {
    const int64_t length = stop - start < size ? stop - start : size;
    T* out = output + start;
    prefetch<true>(ahead, length / share * static_cast<int64_t>(sizeof(T)));
    ahead += length / share;
#ifdef GACT_SIMD
    if (rebuild_usual_group(groups, how, start, length, on, out)) continue;
#endif
    for (int64_t i = 0; i < length; i += term.group_size)
      decode_one(groups, (start + i) / term.group_size, /*stream=*/false, values + i);
    clamp_all<T>(values, length);
    for (int n = 0; n < how.line_count; ++n) apply_line(how.lines[n], start, length, values);
    if (how.mask != nullptr) unpack_mask(how.mask, start, length, flags);
    with_ending(how, on, [&](auto ending) { finish(ending, values, flags, length, on, out); });
  }
}

// Asks for what a term reads for elements start .. start + length - 1. With several terms each is read in pieces too
// short for the processor to see where it goes on.
inline void prefetch_term(const Term& term, int64_t start, int64_t length) {
  prefetch<false>(term.codes + code_bytes(start, term.bits), code_bytes(length, term.bits));
  const int64_t group = start / term.group_size;
  prefetch<false>(static_cast<const uint8_t*>(term.metadata) + 4 * group, 4 * (length / term.group_size));
  if (term.how.mask != nullptr) prefetch<false>(term.how.mask + code_bytes(start, 1), code_bytes(length, 1));
}

// Tiles begin .. end - 1, each of all terms one after the other.
template <class T>
void rebuild(const Term* terms, int64_t count, int64_t numel, void* output, int64_t begin, int64_t end) {
  for (int64_t tile = begin; tile < end; ++tile) {
    const int64_t start = tile * kRebuildTile;
    const int64_t stop = numel - start < kRebuildTile ? numel : start + kRebuildTile;
    auto* to = static_cast<T*>(output);
    for (int64_t n = 0; n < count; ++n) {
      if (numel - stop >= kRebuildTile) prefetch_term(terms[n], stop, kRebuildTile);
      rebuild_term<T>(terms[n], numel, to, start, stop, to + stop + n * (kRebuildTile / count), count);
    }
  }
}

}  // namespace gact::GACT_TARGET
