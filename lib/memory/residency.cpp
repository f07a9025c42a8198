#include "memory/residency.hpp"

#include "memory/vm.hpp"

#include <growstack/handler/without_cancellation.hpp>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace growstack {
namespace {

/// A run of pages that are all resident.
struct PageRun {
  std::uintptr_t begin;
  std::uintptr_t end;
};

// ---- PAGEMAP_SCAN -------------------------------------------------------------------------------

// As in <linux/fs.h> since Linux 6.7; older headers lack it.

struct PageRegion {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t categories;
};

struct ScanArguments {
  std::uint64_t size;
  std::uint64_t flags;
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t walk_end;
  std::uint64_t regions;
  std::uint64_t region_count;
  std::uint64_t max_pages;
  std::uint64_t category_inverted;
  std::uint64_t category_mask;
  std::uint64_t category_anyof_mask;
  std::uint64_t return_mask;
};

constexpr unsigned long pagemap_scan = _IOWR('f', 16, ScanArguments);
constexpr std::uint64_t page_is_present = 1U << 3U;
constexpr std::uint64_t page_is_zero_page = 1U << 5U;

/// Calls visit(PageRun) for resident runs, from low addresses to high, until a call returns false.
/// Returns false if the kernel does not have PAGEMAP_SCAN.
template <class Visit>
bool scan_pagemap(std::uintptr_t begin, std::size_t size, Visit visit) noexcept {
  const handler::WithoutCancellation without_cancellation;
  const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (pagemap < 0) {
    return false;
  }
  std::array<PageRegion, 128> regions;
  std::uintptr_t at = begin;
  bool told = true;
  bool wanted = true;
  while (told && wanted && at < begin + size) {
    ScanArguments arguments{.size = sizeof(ScanArguments),
                            .flags = 0,
                            .start = at,
                            .end = begin + size,
                            .walk_end = 0,
                            .regions = reinterpret_cast<std::uint64_t>(regions.data()),
                            .region_count = regions.size(),
                            .max_pages = 0,
                            .category_inverted = page_is_zero_page,
                            .category_mask = page_is_present | page_is_zero_page,
                            .category_anyof_mask = 0,
                            .return_mask = page_is_present};
    const int found = ioctl(pagemap, pagemap_scan, &arguments);
    told = found >= 0;
    for (int index = 0; wanted && index < found; ++index) {
      const PageRegion& region = regions[static_cast<std::size_t>(index)];
      wanted = visit(PageRun{region.start, region.end});
    }
    at = std::max<std::uintptr_t>(at + vm::page_size(), arguments.walk_end);
  }
  close(pagemap);
  return told;
}

// ---- mincore ------------------------------------------------------------------------------------

/// Calls visit(PageRun) for resident pages, from low addresses to high, until a call returns false.
template <class Visit>
void scan_by_mincore(std::uintptr_t begin, std::size_t size, Visit visit) noexcept {
  const std::size_t page = vm::page_size();
  std::array<unsigned char, 16384> flags;
  for (std::uintptr_t at = begin; at < begin + size; at += flags.size() * page) {
    const std::size_t bytes = std::min(begin + size - at, flags.size() * page);
    if (mincore(reinterpret_cast<void*>(at), bytes, flags.data()) != 0) {
      // ENOMEM: not all of it is mapped. So ask for each page.
      std::fill(flags.begin(), flags.end(), static_cast<unsigned char>(0));
      for (std::size_t index = 0; index < bytes / page; ++index) {
        if (mincore(reinterpret_cast<void*>(at + index * page), page, &flags[index]) != 0) {
          flags[index] = 0;
        }
      }
    }
    for (std::size_t index = 0; index < bytes / page; ++index) {
      if ((flags[index] & 1U) != 0 && !visit(PageRun{at + index * page, at + (index + 1) * page})) {
        return;
      }
    }
  }
}

}  // namespace

std::size_t resident(std::uintptr_t begin, std::size_t size) noexcept {
  std::size_t bytes = 0;
  const auto add = [&](PageRun run) {
    bytes += run.end - run.begin;
    return true;
  };
  if (!scan_pagemap(begin, size, add)) {
    bytes = 0;
    scan_by_mincore(begin, size, add);
  }
  return bytes;
}

std::uintptr_t lowest_resident(std::uintptr_t begin, std::size_t size) noexcept {
  std::uintptr_t lowest = begin + size;
  const auto first = [&](PageRun run) {
    lowest = run.begin;
    return false;
  };
  if (!scan_pagemap(begin, size, first)) {
    scan_by_mincore(begin, size, first);
  }
  return lowest;
}

}  // namespace growstack
