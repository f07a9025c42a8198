#include "vm.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <memory>
#include <span>

namespace growstack::vm {
namespace {

void* pointer(std::uintptr_t address) noexcept { return reinterpret_cast<void*>(address); }

int map_fixed(std::uintptr_t begin, std::size_t size, int protection, int flags) noexcept {
  if (size == 0) {
    return 0;
  }
  // MAP_STACK says "no huge pages" on new kernels; the advice says so on all. With one of them missing, old and new
  // pieces of a stack would be two kinds of mapping that the kernel cannot merge.
  void* const mapped =
      mmap(pointer(begin), size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_FIXED | flags, -1, 0);
  if (mapped == MAP_FAILED) {
    return errno;
  }
  // EINVAL: a kernel without huge pages.
  return madvise(mapped, size, MADV_NOHUGEPAGE) == 0 || errno == EINVAL ? 0 : errno;
}

/// Calls `visit(address of the first page, flags of each page)` from low to high until it returns false.
template <class Visit>
void for_each_residency(std::uintptr_t begin, std::size_t size, Visit visit) noexcept {
  constexpr std::size_t pages_at_once = 16384;
  const std::size_t page = page_size();
  std::array<unsigned char, pages_at_once> flags;
  for (std::uintptr_t at = begin; at < begin + size; at += pages_at_once * page) {
    const std::size_t bytes = std::min(begin + size - at, pages_at_once * page);
    if (mincore(pointer(at), bytes, flags.data()) != 0) {
      std::fill(flags.begin(), flags.end(), static_cast<unsigned char>(0));  // ENOMEM: not all of it is mapped
      for (std::size_t index = 0; index < bytes / page; ++index) {
        if (mincore(pointer(at + index * page), page, &flags[index]) != 0) {
          flags[index] = 0;
        }
      }
    }
    if (!visit(at, std::span<const unsigned char>(flags.data(), bytes / page))) {
      return;
    }
  }
}

bool is_resident(unsigned char flags) noexcept { return (flags & 1U) != 0; }

}  // namespace

int reserve(std::size_t size, std::size_t alignment, std::uintptr_t& begin) noexcept {
  const std::size_t slack = alignment - page_size();
  if (size > SIZE_MAX - slack) {
    return ENOMEM;
  }
  void* const mapped = mmap(nullptr, size + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (mapped == MAP_FAILED) {
    return errno;
  }
  const auto first = reinterpret_cast<std::uintptr_t>(mapped);
  const std::uintptr_t aligned = (first + alignment - 1) & ~(alignment - 1);
  int error = 0;
  if (release(first, aligned - first) != 0 || release(aligned + size, first + size + slack - (aligned + size)) != 0 ||
      (madvise(pointer(aligned), size, MADV_NOHUGEPAGE) != 0 && errno != EINVAL)) {
    error = errno;
    static_cast<void>(release(first, size + slack));
    return error;
  }
  begin = aligned;
  return 0;
}

int commit(std::uintptr_t begin, std::size_t size) noexcept {
  return mprotect(pointer(begin), size, PROT_READ | PROT_WRITE) == 0 ? 0 : errno;
}

int decommit(std::uintptr_t begin, std::size_t size) noexcept {
  const int error = map_fixed(begin, size, PROT_NONE, 0);
  if (error == 0) {
    return 0;
  }
  return mprotect(pointer(begin), size, PROT_NONE) == 0 && discard(begin, size) == 0 ? 0 : error;
}

int commit_uncharged(std::uintptr_t begin, std::size_t size) noexcept {
  return map_fixed(begin, size, PROT_READ | PROT_WRITE, MAP_NORESERVE);
}

int release(std::uintptr_t begin, std::size_t size) noexcept {
  return size == 0 || munmap(pointer(begin), size) == 0 ? 0 : errno;
}

int set_apart(std::uintptr_t begin, std::size_t size) noexcept {
  return madvise(pointer(begin), size, MADV_RANDOM) == 0 ? 0 : errno;
}

int discard(std::uintptr_t begin, std::size_t size) noexcept {
  constexpr int dontneed_locked = 24;  // MADV_DONTNEED_LOCKED, Linux 5.18: DONTNEED is refused on locked memory
  return size == 0 || madvise(pointer(begin), size, MADV_DONTNEED) == 0 ||
                 (errno == EINVAL && madvise(pointer(begin), size, dontneed_locked) == 0)
             ? 0
             : errno;
}

std::size_t resident(std::uintptr_t begin, std::size_t size) noexcept {
  std::size_t pages = 0;
  for_each_residency(begin, size, [&](std::uintptr_t, std::span<const unsigned char> flags) {
    pages += static_cast<std::size_t>(std::count_if(flags.begin(), flags.end(), is_resident));
    return true;
  });
  return pages * page_size();
}

std::uintptr_t lowest_resident(std::uintptr_t begin, std::size_t size) noexcept {
  std::uintptr_t lowest = begin + size;
  for_each_residency(begin, size, [&](std::uintptr_t at, std::span<const unsigned char> flags) {
    const auto found = std::find_if(flags.begin(), flags.end(), is_resident);
    if (found == flags.end()) {
      return true;
    }
    lowest = at + static_cast<std::size_t>(found - flags.begin()) * page_size();
    return false;
  });
  return lowest;
}

std::uintptr_t mapping_start(std::uintptr_t address) noexcept {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> maps(std::fopen("/proc/self/maps", "re"), &std::fclose);
  if (maps == nullptr) {
    return 0;
  }
  std::array<char, 4352> line;  // a path may be 4,096 bytes long
  while (std::fgets(line.data(), line.size(), maps.get()) != nullptr) {
    std::uintptr_t start = 0;
    std::uintptr_t end = 0;
    if (std::sscanf(line.data(), "%" SCNxPTR "-%" SCNxPTR, &start, &end) == 2 && start <= address && address < end) {
      return start;
    }
  }
  return 0;
}

}  // namespace growstack::vm
