// The kernels of one instruction set, as the bindings call them.
#pragma once

#include <cstdint>

namespace gact {

enum class Element { kFloat32, kFloat16, kBFloat16, kFloat64, kBool };
enum class Rounding { kNearest, kStochastic, kDithered };
enum class Integer { kInt64, kInt32, kInt16, kUInt8, kInt8 };

using QuantizeGroups = void (*)(const void* input, int64_t numel, int bits, int64_t group_size, uint64_t seed,
                                Rounding rounding, uint8_t* codes, void* metadata, int64_t begin, int64_t end);
using DequantizeGroups = void (*)(const uint8_t* codes, const void* metadata, int64_t numel, int bits,
                                  int64_t group_size, uint64_t seed, bool stream, void* output, int64_t begin,
                                  int64_t end);

// Factor and shift of a channel: that of element i of the tensor is i / inner % count.
struct Line {
  const float* factor;
  const float* shift;
  int64_t count;
  int64_t inner;
};

// What is made of decoded elements.
struct Rebuild {
  Line lines[2];
  int line_count;
  bool add;             // to what the output holds
  const uint8_t* mask;  // one bit for each element; nullptr for none
  double on;            // factor of a bit that is 1; a bit that is 0 erases
};

// Group codes and what is made of them.
struct Term {
  const uint8_t* codes;
  const void* metadata;
  int bits;
  int64_t group_size;
  uint64_t seed;
  Rebuild how;
};

// Elements that all terms are computed for before those that follow: whole groups of every size, few enough to stay in
// the nearest cache from one term to the next.
constexpr int64_t kRebuildTile = 2048;

using RebuildTiles = void (*)(const Term* terms, int64_t count, int64_t numel, void* output, int64_t begin,
                              int64_t end);
// What elements are moved along: t + weight (sqrt(t^2 + square) - t) + after, of t = x - before.
struct Bend {
  double before;
  double square;
  double weight;
  double after;
};

using BendElements = void (*)(const void* input, Bend how, void* output, int64_t begin, int64_t end);
using EncodeMask = void (*)(const void* input, int64_t numel, double low, double high, uint8_t* codes, int64_t begin,
                            int64_t end);
using DecodeMask = void (*)(const uint8_t* codes, int64_t numel, double off, double on, void* output, int64_t begin,
                            int64_t end);
using ApplyMask = void (*)(void* output, int64_t numel, double off, double on, const uint8_t* codes, int64_t begin,
                           int64_t end);
using EncodeIntegers = void (*)(const void* input, int64_t numel, int64_t minimum, int bits, uint8_t* codes,
                                int64_t begin, int64_t end);
using DecodeIntegers = void (*)(const uint8_t* codes, int64_t numel, int64_t minimum, int bits, void* output,
                                int64_t begin, int64_t end);

constexpr int kSumLanes = 16;  // of sums and extremes, which the compiler keeps in vectors

// Sums of the squared ranges of boxes, of those times the squared slope, and of the inverse of that; range of a group.
struct BoxSums {
  float square, scaled, inverse, range;
};

using NarrowRow = void (*)(const void* input, int64_t length, const float* least, const float* inverse, float* output);
using RestoreRow = void (*)(float* x, int64_t length, const float* width, const float* least);
using MeasureRuns = void (*)(const void* input, int64_t length, float* low, float* high, int64_t begin, int64_t end);
using WidenRow = float (*)(const void* input, int64_t length, float* low, float* high);
using SumGroup = BoxSums (*)(const float* width, const float* x, const float* slope, int64_t length);

struct Kernels {
  const char* name;
  QuantizeGroups quantize[4];         // by Element
  DequantizeGroups dequantize[2][4];  // by the arithmetic (0: float32, 1: float64), then by Element
  RebuildTiles rebuild[3];            // by Element
  BendElements bend[4];               // by Element
  EncodeMask encode_mask[5];          // by Element
  DecodeMask decode_mask[5];          // by Element
  ApplyMask apply_mask[4];            // by Element
  EncodeIntegers encode_integers[5];  // by Integer
  DecodeIntegers decode_integers[5];  // by Integer
  NarrowRow narrow_row[3];            // by Element
  RestoreRow restore_row;
  WidenRow widen_row[3];  // by Element
  SumGroup sum_group;
  MeasureRuns measure_runs[3];  // by Element
};

const Kernels& baseline_kernels();
#if defined(__x86_64__)
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
#endif

}  // namespace gact
