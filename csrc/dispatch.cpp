#include "dispatch.h"

#include <atomic>
#include <cstring>
#include <initializer_list>

namespace gact {
namespace {

#if defined(__x86_64__)
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

// The kernels of that name, or nullptr if the name is unknown or the machine cannot run them.
const Kernels* find(const char* name) {
  if (std::strcmp(name, "baseline") == 0) return &baseline_kernels();
#if defined(__x86_64__)
  if (std::strcmp(name, "avx512") == 0 && has_avx512()) return &avx512_kernels();
  if (std::strcmp(name, "avx2") == 0 && has_avx2()) return &avx2_kernels();
#endif
  return nullptr;
}

const Kernels* best() {
  for (const char* name : {"avx512", "avx2"}) {
    if (const Kernels* kernels = find(name)) return kernels;
  }
  return &baseline_kernels();
}

std::atomic<const Kernels*>& active() {
  static std::atomic<const Kernels*> kernels{best()};
  return kernels;
}

}  // namespace

const Kernels& active_kernels() { return *active().load(std::memory_order_relaxed); }

}  // namespace gact

const char* gact_instruction_set() { return gact::active_kernels().name; }

int gact_has_instruction_set(const char* name) { return gact::find(name) != nullptr; }

int gact_use_instruction_set(const char* name) {
  const gact::Kernels* kernels = gact::find(name);
  if (kernels == nullptr) return 0;
  gact::active().store(kernels, std::memory_order_relaxed);
  return 1;
}
