// Has torch take the memory of large CPU tensors from `Spans` instead of the C library.
//
// All CPU tensors are allocated and freed by two functions of libc10, which call `posix_memalign` and `free`. The slots
// through which that one library calls these two are pointed at the functions below; nothing else of the process is
// touched. Memory is told by its address, so what was allocated before, or by others, goes to the C library as ever.


#include <cstddef>
#include <cstdint>
#include <cstdlib>

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))
#include <elf.h>
#include <link.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

#include "spans.h"

#define GACT_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

gact::Spans* spans = nullptr;  // never destroyed: tensors may outlive everything
std::atomic<bool> enabled{false};
std::atomic<std::size_t> least{0};

int take(void** out, std::size_t alignment, std::size_t bytes) {
  if (bytes >= least.load(std::memory_order_relaxed) && alignment <= gact::Spans::kPage) {
    if (!enabled.load(std::memory_order_relaxed)) {
      spans->pass(bytes);
    } else if (void* place = spans->take(bytes)) {
      *out = place;
      return 0;
    }
  }
  return posix_memalign(out, alignment, bytes);
}

void give(void* place) {
  if (spans->owns(place)) {
    spans->give(place);
  } else {
    std::free(place);
  }
}

// The parts of a loaded library that the patch needs.
struct Library {
  const ElfW(Sym) * symbols = nullptr;
  const char* names = nullptr;
  const ElfW(Rela) * tables[2] = {nullptr, nullptr};
  std::size_t sizes[2] = {0, 0};
  std::uintptr_t base = 0, sealed = 0, sealed_end = 0;
};

bool is_slot(std::uint64_t info) {
  const auto kind = ELF64_R_TYPE(info);
#if defined(__x86_64__)
  return kind == R_X86_64_JUMP_SLOT || kind == R_X86_64_GLOB_DAT || kind == R_X86_64_64;
#else
  return kind == R_AARCH64_JUMP_SLOT || kind == R_AARCH64_GLOB_DAT || kind == R_AARCH64_ABS64;
#endif
}

int find(dl_phdr_info* info, std::size_t, void* out) {
  const char* name = std::strrchr(info->dlpi_name, '/');
  if (std::strcmp(name ? name + 1 : info->dlpi_name, "libc10.so") != 0) return 0;
  auto& library = *static_cast<Library*>(out);
  library.base = info->dlpi_addr;
  const std::uintptr_t page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  for (int at = 0; at < info->dlpi_phnum; ++at) {
    const auto& header = info->dlpi_phdr[at];
    if (header.p_type == PT_GNU_RELRO) {
      library.sealed = (library.base + header.p_vaddr) / page * page;
      library.sealed_end = library.base + header.p_vaddr + header.p_memsz;
    }
    if (header.p_type != PT_DYNAMIC) continue;
    for (auto* entry = reinterpret_cast<const ElfW(Dyn)*>(library.base + header.p_vaddr); entry->d_tag; ++entry) {
      const auto address = entry->d_un.d_ptr;
      if (entry->d_tag == DT_SYMTAB) library.symbols = reinterpret_cast<const ElfW(Sym)*>(address);
      if (entry->d_tag == DT_STRTAB) library.names = reinterpret_cast<const char*>(address);
      if (entry->d_tag == DT_JMPREL) library.tables[0] = reinterpret_cast<const ElfW(Rela)*>(address);
      if (entry->d_tag == DT_PLTRELSZ) library.sizes[0] = entry->d_un.d_val;
      if (entry->d_tag == DT_RELA) library.tables[1] = reinterpret_cast<const ElfW(Rela)*>(address);
      if (entry->d_tag == DT_RELASZ) library.sizes[1] = entry->d_un.d_val;
    }
  }
  return 1;
}

// Calls `visit` with the address of every slot of a function.
template <typename Visit>
int slots(const Library& library, const char* function, Visit visit) {
  int count = 0;
  for (int table = 0; table < 2; ++table) {
    for (std::size_t at = 0; at < library.sizes[table] / sizeof(ElfW(Rela)); ++at) {
      const auto& entry = library.tables[table][at];
      const auto& symbol = library.symbols[ELF64_R_SYM(entry.r_info)];
      if (!is_slot(entry.r_info) || std::strcmp(library.names + symbol.st_name, function) != 0) continue;
      visit(library.base + entry.r_offset);
      ++count;
    }
  }
  return count;
}

bool point(const Library& library, const char* function, void* target) {
  const std::uintptr_t page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  bool done = true;
  slots(library, function, [&](std::uintptr_t slot) {
    void* start = reinterpret_cast<void*>(slot / page * page);
    if (mprotect(start, page, PROT_READ | PROT_WRITE) != 0) {
      done = false;
      return;
    }
    *reinterpret_cast<void**>(slot) = target;
    if (slot >= library.sealed && slot < library.sealed_end) mprotect(start, page, PROT_READ);
  });
  return done;
}

}  // namespace

// 0 if large CPU tensors come from spans from now on; 2 if address space is limited, 3 if this torch cannot be patched.
GACT_EXPORT int gact_allocator_install(std::size_t reserve) {
  if (spans) return 0;
  Library library;
  dl_iterate_phdr(find, &library);
  const auto nothing = [](std::uintptr_t) {};
  if (!library.symbols || !library.names || !slots(library, "posix_memalign", nothing) ||
      !slots(library, "free", nothing))
    return 3;
  rlimit addresses;
  if (getrlimit(RLIMIT_AS, &addresses) == 0 && addresses.rlim_cur != RLIM_INFINITY) return 2;
  auto* made = new gact::Spans;
  if (!made->reserve(reserve)) {
    delete made;
    return 2;
  }
  spans = made;
  pthread_atfork([] { spans->lock(); }, [] { spans->unlock(); }, [] { spans->unlock(); });
  // Freeing first: nothing may be allocated that cannot be freed.
  if (!point(library, "free", reinterpret_cast<void*>(&give)) ||
      !point(library, "posix_memalign", reinterpret_cast<void*>(&take)))
    return 3;
  return 0;
}

// Whether to serve requests, from which size on, and how many free bytes to keep in memory (SIZE_MAX: as many as were in
// use lately).
GACT_EXPORT void gact_allocator_set(int on, std::size_t from, std::size_t keep) {
  if (!spans) return;
  least = from;
  spans->keep(keep);
  enabled = on != 0;
}

// used, free but in memory, most of both, requests served, requests refused
GACT_EXPORT void gact_allocator_figures(std::size_t* out) {
  const auto figures = spans ? spans->figures() : gact::Spans::Figures{0, 0, 0, 0, 0};
  out[0] = figures.used;
  out[1] = figures.dirty;
  out[2] = figures.most;
  out[3] = figures.taken;
  out[4] = figures.refused;
}

#else

#define GACT_EXPORT extern "C" __attribute__((visibility("default")))
GACT_EXPORT int gact_allocator_install(std::size_t) { return 1; }
GACT_EXPORT void gact_allocator_set(int, std::size_t, std::size_t) {}
GACT_EXPORT void gact_allocator_figures(std::size_t* out) {
  for (int at = 0; at < 5; ++at) out[at] = 0;
}

#endif
