// Data that is mostly zero: one bit per element and those that are not zero. What both functions do is specified by
// their twins of plain torch in src/gact/ops/sparse.py.
#include <cstdint>
#include <cstring>

namespace gact {
namespace {

constexpr int kWord = 32;

// Bit i of word w tells of element 32 w + i. Stops before more than `count` elements would be written.
template <class T>
int64_t gather(const T* x, int64_t numel, uint32_t* bits, T* values, int64_t count) {
  int64_t found = 0;
  for (int64_t first = 0; first < numel; first += kWord) {
    const int length = numel - first < kWord ? static_cast<int>(numel - first) : kWord;
    uint32_t word = 0;
    for (int i = 0; i < length; ++i) word |= static_cast<uint32_t>(x[first + i] != 0) << i;
    bits[first / kWord] = word;
    for (; word != 0; word &= word - 1) {
      if (found == count) return count + 1;
      values[found++] = x[first + __builtin_ctz(word)];
    }
  }
  return found;
}

template <class T>
void scatter(const uint32_t* bits, const T* values, int64_t numel, T* out) {
  for (int64_t first = 0; first < numel; first += kWord) {
    const int64_t length = numel - first < kWord ? numel - first : kWord;
    std::memset(out + first, 0, length * sizeof(T));
    for (uint32_t word = bits[first / kWord]; word != 0; word &= word - 1) out[first + __builtin_ctz(word)] = *values++;
  }
}

template <class T>
int64_t gather_as(const void* x, int64_t numel, void* bits, void* values, int64_t count) {
  return gather(static_cast<const T*>(x), numel, static_cast<uint32_t*>(bits), static_cast<T*>(values), count);
}

template <class T>
void scatter_as(const void* bits, const void* values, int64_t numel, void* out) {
  scatter(static_cast<const uint32_t*>(bits), static_cast<const T*>(values), numel, static_cast<T*>(out));
}

}  // namespace
}  // namespace gact

#define GACT_EXPORT extern "C" __attribute__((visibility("default")))

// Elements that are not zero, as integers of `size` bytes; `count` is how many the caller has room for.
GACT_EXPORT int64_t gact_gather_set(const void* x, int size, int64_t numel, void* bits, void* values, int64_t count) {
  switch (size) {
    case 2: return gact::gather_as<uint16_t>(x, numel, bits, values, count);
    case 4: return gact::gather_as<uint32_t>(x, numel, bits, values, count);
    default: return gact::gather_as<uint64_t>(x, numel, bits, values, count);
  }
}

GACT_EXPORT void gact_scatter_set(const void* bits, const void* values, int size, int64_t numel, void* out) {
  switch (size) {
    case 2: return gact::scatter_as<uint16_t>(bits, values, numel, out);
    case 4: return gact::scatter_as<uint32_t>(bits, values, numel, out);
    default: return gact::scatter_as<uint64_t>(bits, values, numel, out);
  }
}
