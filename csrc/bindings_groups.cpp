// The operators of the group code. The schemas are defined in src/gact/ops/schema.py.
#include <optional>
#include <tuple>
#include <vector>

#include "bindings.h"
#include "dispatch.h"

namespace gact {
namespace {

// From this size on writing past the caches is faster, also if the result is read next, as long as the memory has been
// in use before: the old contents need not be read, and the first part of the result would have left the caches in any
// case. Fresh memory, which the system clears at the first access and thereby brings to the caches, is written faster
// through them.
constexpr int64_t kStreamBytes = int64_t{32} << 20;

void check_code(int64_t bits, int64_t group_size) {
  STD_TORCH_CHECK(bits >= 1 && bits <= 8, "bits must be a whole number from 1 to 8, got ", bits, ".");
  STD_TORCH_CHECK(group_size >= kSmallestGroup && group_size <= kLargestGroup && (group_size & (group_size - 1)) == 0,
                  "group_size must be a power of two from 32 to 1024, got ", group_size, ".");
}

std::tuple<Tensor, Tensor> quantize(Tensor x, int64_t bits, int64_t group_size, int64_t seed, int64_t rounding) {
  check_code(bits, group_size);
  STD_TORCH_CHECK(rounding >= 0 && rounding <= 2, "rounding must be 0 (nearest), 1 (stochastic) or 2 (dithered), got ",
                  rounding, ".");
  const Element element = element_of(x.scalar_type());
  x = dense(x);
  const int64_t numel = x.numel();
  const int64_t size[] = {group_count(numel, group_size), 2};
  const int64_t stride[] = {2, 1};
  Tensor codes = empty_bytes(code_bytes(numel, static_cast<int>(bits)));
  Tensor metadata = empty(size, stride, 2, element == Element::kFloat64 ? ScalarType::Float : ScalarType::BFloat16);
  const void* in = x.const_data_ptr();
  auto* out = static_cast<uint8_t*>(codes.mutable_data_ptr());
  void* fields = metadata.mutable_data_ptr();
  const auto kernel = active_kernels().quantize[static_cast<int>(element)];
  for_groups(numel, group_size, [=](int64_t begin, int64_t end) {
    kernel(in, numel, static_cast<int>(bits), group_size, static_cast<uint64_t>(seed), static_cast<Rounding>(rounding),
           out, fields, begin, end);
  });
  return {codes, metadata};
}

// Whether it is that of float64 tensors.
bool check_metadata(const Tensor& metadata, int64_t groups) {
  check_cpu(metadata, "metadata");
  const ScalarType dtype = metadata.scalar_type();
  STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::BFloat16,
                  "metadata must be bfloat16 (float32 for codes of float64 tensors). Pass what quantize returned.");
  STD_TORCH_CHECK(
      metadata.dim() == 2 && metadata.is_contiguous() && metadata.size(0) == groups && metadata.size(1) == 2,
      "metadata must be contiguous with shape [", groups, ", 2] for this size and group_size.");
  return dtype == ScalarType::Float;
}

void dequantize_groups(const Tensor& codes, const Tensor& metadata, int64_t bits, int64_t group_size, int64_t seed,
                       bool stream, const Tensor& out) {
  const int64_t numel = out.numel();
  const Element element = element_of(out.scalar_type());
  check_bytes(codes, "codes", code_bytes(numel, static_cast<int>(bits)));
  const bool wide = check_metadata(metadata, group_count(numel, group_size));
  const auto* in = static_cast<const uint8_t*>(codes.const_data_ptr());
  const void* fields = metadata.const_data_ptr();
  void* to = out.mutable_data_ptr();
  const auto kernel = active_kernels().dequantize[wide][static_cast<int>(element)];
  for_groups(numel, group_size, [=](int64_t begin, int64_t end) {
    kernel(in, fields, numel, static_cast<int>(bits), group_size, static_cast<uint64_t>(seed), stream, to, begin, end);
  });
}

Tensor dequantize(Tensor codes, Tensor metadata, int64_t bits, int64_t group_size, std::vector<int64_t> size,
                  std::vector<int64_t> stride, ScalarType dtype, int64_t seed) {
  check_code(bits, group_size);
  Tensor out = empty_dense(size, stride, dtype);
  dequantize_groups(codes, metadata, bits, group_size, seed, /*stream=*/false, out);
  return out;
}

void dequantize_into(Tensor out, Tensor codes, Tensor metadata, int64_t bits, int64_t group_size, int64_t seed) {
  check_code(bits, group_size);
  check_dense(out, "out");
  const bool stream = out.numel() * static_cast<int64_t>(out.element_size()) >= kStreamBytes;
  dequantize_groups(codes, metadata, bits, group_size, seed, stream, out);
}

// A line for every channel; what it points to lives as long as the tensor.
Line line_of(const Tensor& line, int64_t inner) {
  check_cpu(line, "lines");
  STD_TORCH_CHECK(line.scalar_type() == ScalarType::Float && line.dim() == 2 && line.size(0) == 2 && line.size(1) > 0 &&
                      line.is_contiguous(),
                  "lines must be contiguous float32 tensors of shape [2, channels]: factors, then shifts.");
  STD_TORCH_CHECK(inner > 0, "inner must be positive, got ", inner, ".");
  const auto* factor = static_cast<const float*>(line.const_data_ptr());
  return {factor, factor + line.size(1), line.size(1), inner};
}

Rebuild rebuild_of(const std::vector<Tensor>& lines, const std::vector<int64_t>& inner,
                   const std::optional<Tensor>& mask, double on, bool add, int64_t numel) {
  STD_TORCH_CHECK(lines.size() == inner.size() && lines.size() <= 2,
                  "lines must be at most 2 tensors with one inner for each, got ", lines.size(), " and ", inner.size(),
                  ".");
  Rebuild how{{}, static_cast<int>(lines.size()), add, nullptr, on};
  for (size_t n = 0; n < lines.size(); ++n) how.lines[n] = line_of(lines[n], inner[n]);
  if (mask.has_value()) {
    check_bytes(*mask, "mask", code_bytes(numel, 1));
    how.mask = static_cast<const uint8_t*>(mask->const_data_ptr());
  }
  return how;
}

// Codes and what is made of them; what it points to lives as long as the tensors.
Term term_of(const Tensor& codes, const Tensor& metadata, int64_t bits, int64_t group_size, int64_t seed,
             const Rebuild& how, int64_t numel) {
  check_code(bits, group_size);
  check_bytes(codes, "codes", code_bytes(numel, static_cast<int>(bits)));
  STD_TORCH_CHECK(!check_metadata(metadata, group_count(numel, group_size)),
                  "metadata must be bfloat16: codes of float64 tensors are not rebuilt in one pass.");
  return {static_cast<const uint8_t*>(codes.const_data_ptr()), metadata.const_data_ptr(), static_cast<int>(bits),
          group_size, static_cast<uint64_t>(seed), how};
}

Element rebuilt_element(const Tensor& out) {
  const Element element = element_of(out.scalar_type());
  STD_TORCH_CHECK(element != Element::kFloat64, "dtype must be float32, float16 or bfloat16, got float64.");
  check_dense(out, "out");
  return element;
}

void rebuild_terms(const Tensor& out, Element element, const Term* terms, int64_t count) {
  const int64_t numel = out.numel();
  void* to = out.mutable_data_ptr();
  const auto kernel = active_kernels().rebuild[static_cast<int>(element)];
  for_groups(numel, kRebuildTile,
             [=](int64_t begin, int64_t end) { kernel(terms, count, numel, to, begin, end); });
}

void rebuild_into(Tensor out, Tensor codes, Tensor metadata, int64_t bits, int64_t group_size, int64_t seed,
                  std::vector<Tensor> lines, std::vector<int64_t> inner, std::optional<Tensor> mask, double on,
                  bool add) {
  const Element element = rebuilt_element(out);
  const int64_t numel = out.numel();
  const Term term =
      term_of(codes, metadata, bits, group_size, seed, rebuild_of(lines, inner, mask, on, add, numel), numel);
  rebuild_terms(out, element, &term, 1);
}

void rebuild_sum_into(Tensor out, std::vector<Tensor> codes, std::vector<Tensor> metadata, std::vector<int64_t> bits,
                      std::vector<int64_t> group_size, std::vector<int64_t> seed, std::vector<Tensor> lines,
                      std::vector<int64_t> inner, std::vector<int64_t> line_count,
                      std::vector<std::optional<Tensor>> mask, std::vector<double> on, bool add) {
  const size_t count = codes.size();
  for (const size_t each : {metadata.size(), bits.size(), group_size.size(), seed.size(), line_count.size(),
                            mask.size(), on.size()})
    STD_TORCH_CHECK(each == count, "every list but lines and inner must have one entry for each term, got ", each,
                    " for ", count, ".");
  bool fit = lines.size() == inner.size();
  size_t lines_left = lines.size();
  for (const int64_t here : line_count) {
    fit = fit && here >= 0 && here <= 2;
    lines_left -= static_cast<size_t>(here);
  }
  STD_TORCH_CHECK(fit && lines_left == 0,
                  "line_count must be at most 2 for each term and together as many as lines and inner.");
  const Element element = rebuilt_element(out);
  const int64_t numel = out.numel();
  std::vector<Term> terms;
  int64_t from = 0;
  for (size_t n = 0; n < count; ++n) {
    const int64_t to = from + line_count[n];
    const std::vector<Tensor> own(lines.begin() + from, lines.begin() + to);
    const std::vector<int64_t> neighbours(inner.begin() + from, inner.begin() + to);
    terms.push_back(term_of(codes[n], metadata[n], bits[n], group_size[n], seed[n],
                            rebuild_of(own, neighbours, mask[n], on[n], add || n > 0, numel), numel));
    from = to;
  }
  rebuild_terms(out, element, terms.data(), static_cast<int64_t>(count));
}

int64_t count_poisoned(Tensor metadata) {
  const int64_t groups = metadata.dim() == 0 ? 0 : metadata.size(0);
  const bool wide = check_metadata(metadata, groups);
  const void* fields = metadata.const_data_ptr();
  int64_t count = 0;
  if (wide) {
    const auto* pairs = static_cast<const uint64_t*>(fields);
    for (int64_t g = 0; g < groups; ++g) count += (pairs[g] << 1 >> 33) > 0x7F800000u;
  } else {
    const auto* pairs = static_cast<const uint32_t*>(fields);
    for (int64_t g = 0; g < groups; ++g) count += (pairs[g] << 1 >> 17) > 0x7F80u;
  }
  return count;
}

}  // namespace
}  // namespace gact

STABLE_TORCH_LIBRARY_IMPL(gact, CPU, m) {
  m.impl("quantize", TORCH_BOX(&gact::quantize));
  m.impl("dequantize", TORCH_BOX(&gact::dequantize));
  m.impl("dequantize_into", TORCH_BOX(&gact::dequantize_into));
  m.impl("rebuild_into", TORCH_BOX(&gact::rebuild_into));
  m.impl("rebuild_sum_into", TORCH_BOX(&gact::rebuild_sum_into));
  m.impl("count_poisoned", TORCH_BOX(&gact::count_poisoned));
}
