#include "memory/residency.hpp"

#include "memory/vm.hpp"

#include <growstack/handler/without_cancellation.hpp>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
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

/// Returns whether the kernel has PAGEMAP_SCAN, by a scan of nothing.
bool has_regions(int pagemap) noexcept {
  ScanArguments nothing{};
  nothing.size = sizeof nothing;
  return ioctl(pagemap, pagemap_scan, &nothing) == 0;
}

/// Calls visit(PageRun) for resident runs, from low addresses to high, until a call returns false.
/// Returns false if the kernel cannot tell.
template <class Visit>
bool scan_regions(int pagemap, std::uintptr_t begin, std::size_t size, Visit visit) noexcept {
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
  return told;
}

// ---- mincore ------------------------------------------------------------------------------------

/// Calls visit(PageRun) for runs of pages that are in memory, from low addresses to high, until a
/// call returns false.
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
    const auto is_there = [](unsigned char flag) { return (flag & 1U) != 0; };
    const auto end = flags.begin() + bytes / page;
    for (auto first = flags.begin();;) {
      first = std::find_if(first, end, is_there);
      if (first == end) {
        break;
      }
      const auto last = std::find_if_not(first, end, is_there);
      const auto address_of = [&](auto place) {
        return at + static_cast<std::size_t>(place - flags.begin()) * page;
      };
      if (!visit(PageRun{address_of(first), address_of(last)})) {
        return;
      }
      first = last;
    }
  }
}

// ---- the entries of /proc/self/pagemap ----------------------------------------------------------

constexpr std::uint64_t entry_is_present = std::uint64_t{1} << 63U;
constexpr std::uint64_t entry_is_exclusive = std::uint64_t{1} << 56U;  // Linux 4.2

/// Returns whether a page that is present has only zeros. Asks the kernel, because a read of our
/// own would fault if the page has gone meanwhile. Returns false if the kernel forbids the
/// question.
bool has_only_zeros(std::uintptr_t page) noexcept {
  std::array<unsigned char, 1024> bytes;
  for (std::uintptr_t at = page; at < page + vm::page_size(); at += bytes.size()) {
    const iovec here{.iov_base = bytes.data(), .iov_len = bytes.size()};
    const iovec there{.iov_base = reinterpret_cast<void*>(at), .iov_len = bytes.size()};
    if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) != static_cast<ssize_t>(bytes.size()) ||
        std::any_of(bytes.begin(), bytes.end(), [](unsigned char byte) { return byte != 0; })) {
      return false;
    }
  }
  return true;
}

/// Returns whether a page costs memory. A page that no other mapping shares does. Otherwise it is
/// the zero page, or a forked child has it too: then what is in it tells.
bool costs_memory(std::uint64_t entry, std::uintptr_t page) noexcept {
  return (entry & entry_is_present) != 0 &&
         ((entry & entry_is_exclusive) != 0 || !has_only_zeros(page));
}

/// Calls visit(PageRun) for resident pages, from low addresses to high, until a call returns false.
/// Returns false if the file cannot be read.
template <class Visit>
bool scan_entries(int pagemap, std::uintptr_t begin, std::size_t size, Visit visit) noexcept {
  const std::size_t page = vm::page_size();
  std::array<std::uint64_t, 256> entries;
  bool told = true;
  const auto look_at = [&](PageRun run) {
    for (std::uintptr_t at = run.begin; at < run.end; at += entries.size() * page) {
      const std::size_t count = std::min((run.end - at) / page, entries.size());
      const std::size_t bytes = count * sizeof entries[0];
      const auto place = static_cast<off_t>(at / page * sizeof entries[0]);
      told = pread(pagemap, entries.data(), bytes, place) == static_cast<ssize_t>(bytes);
      for (std::size_t index = 0; told && index < count; ++index) {
        const std::uintptr_t here = at + index * page;
        if (costs_memory(entries[index], here) && !visit(PageRun{here, here + page})) {
          return false;
        }
      }
      if (!told) {
        return false;
      }
    }
    return true;
  };
  scan_by_mincore(begin, size, look_at);
  return told;
}

// ---- /proc/self/pagemap, by whichever way the kernel has ----------------------------------------

/// Calls visit(PageRun) for resident runs, from low addresses to high, until a call returns false.
/// Returns false if the file is not there, or cannot tell.
template <class Visit>
bool scan_pagemap(std::uintptr_t begin, std::size_t size, Visit visit) noexcept {
  const handler::WithoutCancellation without_cancellation;
  const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (pagemap < 0) {
    return false;
  }
  const bool told = has_regions(pagemap) ? scan_regions(pagemap, begin, size, visit)
                                         : scan_entries(pagemap, begin, size, visit);
  close(pagemap);
  return told;
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
