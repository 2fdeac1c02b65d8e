// Memory for large tensors: ranges of one reserved region, used again while they are still in memory.
//
// A free range is dirty (its pages are in memory) or clean (given back to the system); ranges of one kind that touch are
// one. A request gets the neighbouring free ranges of which the fewest bytes are clean, as each clean page costs a page
// fault: of the placements that were compared on the requests of training steps (first fit, best fit, small ones from the
// other end, by lifetime) the one with the fewest faults. Dirty bytes beyond a limit are given back, what was freed
// longest ago first. Without a limit of the user's used and dirty bytes together are at most what was in use at one time
// lately: holes cost page faults and no memory, a step finds the memory of the last one, and a passing peak is forgotten.
// While requests go elsewhere, dirty bytes wait until many times as many were asked for there: what it costs to give them
// back is then small beside what was done.

#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>
#include <unordered_map>

namespace gact {

class Spans {
 public:
  static constexpr std::size_t kPage = 4096;
  static constexpr std::size_t kAutomatic = SIZE_MAX;

  struct Figures {
    std::size_t used, dirty, most, taken, refused;
  };

  // Reserves addresses, which count for nothing until they are opened; fewer if the system refuses, down to 1 GiB.
  bool reserve(std::size_t bytes) {
    for (; bytes >= (std::size_t{1} << 30); bytes /= 2) {
      void* start = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (start == MAP_FAILED) continue;
      begin_ = reinterpret_cast<std::uintptr_t>(start);
      end_ = begin_ + bytes;
      opened_ = begin_;
      free_[begin_] = {bytes, false, 0};
      return true;
    }
    return false;
  }

  bool owns(const void* place) const {
    const auto address = reinterpret_cast<std::uintptr_t>(place);
    return address >= begin_ && address < end_;
  }

  void keep(std::size_t bytes) {
    std::lock_guard<std::mutex> guard(mutex_);
    keep_ = bytes;
    release(limit());
  }

  // Notes a request that goes elsewhere.
  void pass(std::size_t bytes) {
    std::lock_guard<std::mutex> guard(mutex_);
    passed_ += bytes;
    if (dirty_ && passed_ / kPatience >= dirty_) release(0);
  }

  // A range of that many bytes, aligned to a page; null if there is none.
  void* take(std::size_t bytes) {
    bytes = (bytes + kPage - 1) / kPage * kPage;
    std::lock_guard<std::mutex> guard(mutex_);
    const auto first = cheapest(bytes);
    if (first == free_.end() || !open(first->first + bytes)) {
      ++refused_;
      return nullptr;
    }
    const std::uintptr_t address = first->first;
    carve(first, bytes);
    used_[address] = bytes;
    used_bytes_ += bytes;
    if (++taken_ % kWindow == 0) {
      last_peak_ = peak_;
      peak_ = 0;
    }
    if (used_bytes_ > peak_) peak_ = used_bytes_;
    release(limit());
    passed_ = 0;
    if (used_bytes_ + dirty_ > most_) most_ = used_bytes_ + dirty_;
    return reinterpret_cast<void*>(address);
  }

  void give(void* place) {
    const auto address = reinterpret_cast<std::uintptr_t>(place);
    std::lock_guard<std::mutex> guard(mutex_);
    const auto found = used_.find(address);
    if (found == used_.end()) return;
    const std::size_t bytes = found->second;
    used_.erase(found);
    used_bytes_ -= bytes;
    dirty_ += bytes;
    insert(address, {bytes, true, ++clock_});
    release(limit());
  }

  Figures figures() {
    std::lock_guard<std::mutex> guard(mutex_);
    return {used_bytes_, dirty_, most_, taken_, refused_};
  }

  // Around a fork, so that the child does not find the mutex locked.
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  struct Free {
    std::size_t bytes;
    bool dirty;
    std::uint64_t freed;
  };
  using Map = std::map<std::uintptr_t, Free>;

  static constexpr std::size_t kWindow = 16384;  // requests; a step makes some thousands
  static constexpr std::size_t kPatience = 64;  // bytes asked for elsewhere by dirty bytes, until those are given back

  static constexpr std::size_t kStride = std::size_t{64} << 20;

  // Dirty bytes that may stay.
  std::size_t limit() const {
    if (keep_ != kAutomatic) return keep_;
    return (peak_ > last_peak_ ? peak_ : last_peak_) - used_bytes_;
  }

  // The start of neighbouring ranges that hold the bytes with the fewest clean ones among them; of several the first.
  Map::iterator cheapest(std::size_t bytes) {
    auto found = free_.end();
    std::size_t fewest = SIZE_MAX;
    for (auto start = free_.begin(); start != free_.end() && fewest != 0; ++start) {
      std::size_t total = 0, clean = 0;
      std::uintptr_t next = start->first;
      for (auto at = start; at != free_.end() && at->first == next && total < bytes && clean < fewest; ++at) {
        const std::size_t part = at->second.bytes < bytes - total ? at->second.bytes : bytes - total;
        total += part;
        if (!at->second.dirty) clean += part;
        next = at->first + at->second.bytes;
      }
      if (total == bytes && clean < fewest) {
        found = start;
        fewest = clean;
      }
    }
    return found;
  }

  // Makes the region usable up to an address; false if the system has no more memory to promise.
  bool open(std::uintptr_t end) {
    if (end <= opened_) return true;
    const std::uintptr_t wanted = end + kStride < end_ ? end + kStride : end_;
    if (mprotect(reinterpret_cast<void*>(opened_), wanted - opened_, PROT_READ | PROT_WRITE) != 0) return false;
    opened_ = wanted;
    return true;
  }

  // Takes bytes from the start of a range and of those that follow it.
  void carve(Map::iterator at, std::size_t bytes) {
    while (bytes) {
      const std::uintptr_t address = at->first;
      Free range = at->second;
      at = free_.erase(at);
      const std::size_t part = range.bytes < bytes ? range.bytes : bytes;
      if (range.dirty) dirty_ -= part;
      if (part < range.bytes) {
        range.bytes -= part;
        free_[address + part] = range;
      }
      bytes -= part;
    }
  }

  void insert(std::uintptr_t address, Free range) {
    auto next = free_.lower_bound(address);
    if (next != free_.end() && next->first == address + range.bytes && next->second.dirty == range.dirty) {
      range.bytes += next->second.bytes;
      if (next->second.freed > range.freed) range.freed = next->second.freed;
      next = free_.erase(next);
    }
    if (next != free_.begin()) {
      const auto last = std::prev(next);
      if (last->first + last->second.bytes == address && last->second.dirty == range.dirty) {
        last->second.bytes += range.bytes;
        if (range.freed > last->second.freed) last->second.freed = range.freed;
        return;
      }
    }
    free_[address] = range;
  }

  // Gives back what is dirty beyond so many bytes.
  void release(std::size_t allowed) {
    while (dirty_ > allowed) {
      auto oldest = free_.end();
      for (auto at = free_.begin(); at != free_.end(); ++at)
        if (at->second.dirty && (oldest == free_.end() || at->second.freed < oldest->second.freed)) oldest = at;
      if (oldest == free_.end()) return;
      const std::size_t excess = (dirty_ - allowed + kPage - 1) / kPage * kPage;
      const std::size_t part = oldest->second.bytes < excess ? oldest->second.bytes : excess;
      // The end of a range goes, as requests are served from its start.
      const std::uintptr_t address = oldest->first + oldest->second.bytes - part;
      if (part == oldest->second.bytes) {
        free_.erase(oldest);
      } else {
        oldest->second.bytes -= part;
      }
      madvise(reinterpret_cast<void*>(address), part, MADV_DONTNEED);
      dirty_ -= part;
      insert(address, {part, false, 0});
    }
  }

  std::mutex mutex_;
  Map free_;
  std::unordered_map<std::uintptr_t, std::size_t> used_;
  std::uintptr_t begin_ = 0, end_ = 0, opened_ = 0;
  std::size_t keep_ = kAutomatic, peak_ = 0, last_peak_ = 0, dirty_ = 0, used_bytes_ = 0, most_ = 0;
  std::size_t taken_ = 0, refused_ = 0, passed_ = 0;
  std::uint64_t clock_ = 0;
};

}  // namespace gact
