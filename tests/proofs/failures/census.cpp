#include "proofs/failures/census.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>

namespace growstack::testing {
namespace {

std::string folder_of(pid_t process) { return "/proc/" + std::to_string(process); }

std::size_t entries(const std::string& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> open(opendir(folder.c_str()), &closedir);
  std::size_t count = 0;
  while (open != nullptr) {
    const dirent* const entry = readdir(open.get());
    if (entry == nullptr) {
      break;
    }
    count += entry->d_name[0] == '.' ? 0 : 1;
  }
  return count;
}

/// Adds what a line of /proc/pid/maps tells.
void add_mapping(const std::string& line, Census& census) {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  char permissions[5] = "";
  unsigned long inode = 0;
  int name_at = 0;
  if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %lu %n", &begin, &end,
                  permissions, &inode, &name_at) < 4) {
    return;
  }
  const std::string name = line.substr(static_cast<std::size_t>(name_at));
  const bool is_anonymous = inode == 0 && (name.empty() || name.starts_with("[anon:"));
  if (!is_anonymous) {
    return;
  }
  ++census.mappings;
  census.mapped += end - begin;
  // The table of ranges keeps a page for each place where there was a stack, and what fails decides
  // over the places.
  const bool is_table = name == "[anon:growstack table]";
  census.writable += permissions[1] == 'w' && !is_table ? end - begin : 0;
  std::ostringstream said;
  said << "    " << std::hex << begin << std::dec << " " << (end - begin) / 1024 << " KiB "
       << permissions << " " << name << "\n";
  census.maps += said.str();
}

std::set<std::string> lines_of(const std::string& text) {
  std::istringstream lines(text);
  std::set<std::string> all;
  for (std::string line; std::getline(lines, line);) {
    all.insert(line);
  }
  return all;
}

constexpr std::uintptr_t page = 4096;

// PAGEMAP_SCAN, as in <linux/fs.h> since Linux 6.7.
struct PageRegion {
  std::uint64_t begin;
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

/// As resident_bytes(), on older kernels: the page of zeros counts.
std::int64_t present_bytes(int pages, std::uintptr_t begin, std::uintptr_t end) {
  constexpr std::uint64_t present = std::uint64_t{1} << 63U;
  std::int64_t bytes = 0;
  for (std::uintptr_t at = begin / page * page; at < end; at += page) {
    std::uint64_t entry = 0;
    const auto place = static_cast<off_t>(at / page * sizeof entry);
    if (pread(pages, &entry, sizeof entry, place) != sizeof entry) {
      return -1;
    }
    bytes += (entry & present) != 0 ? static_cast<std::int64_t>(page) : 0;
  }
  return bytes;
}

}  // namespace

Census census_of(pid_t process) {
  const std::string folder = folder_of(process);
  Census census;
  std::ifstream maps(folder + "/maps");
  for (std::string line; std::getline(maps, line);) {
    add_mapping(line, census);
  }
  census.descriptors = entries(folder + "/fd");
  census.threads = entries(folder + "/task");
  std::ifstream children(folder + "/task/" + std::to_string(process) + "/children");
  for (std::string child; children >> child;) {
    ++census.children;
  }
  return census;
}

std::int64_t resident_bytes(pid_t process, std::uintptr_t begin, std::uintptr_t end) {
  const int pages = open((folder_of(process) + "/pagemap").c_str(), O_RDONLY | O_CLOEXEC);
  std::array<PageRegion, 1024> regions;
  ScanArguments arguments{.size = sizeof(ScanArguments),
                          .flags = 0,
                          .start = begin / page * page,
                          .end = (end + page - 1) / page * page,
                          .walk_end = 0,
                          .regions = reinterpret_cast<std::uint64_t>(regions.data()),
                          .region_count = regions.size(),
                          .max_pages = 0,
                          .category_inverted = page_is_zero_page,
                          .category_mask = page_is_present | page_is_zero_page,
                          .category_anyof_mask = 0,
                          .return_mask = page_is_present};
  const int found = ioctl(pages, pagemap_scan, &arguments);
  std::int64_t bytes = 0;
  for (int index = 0; index < found; ++index) {
    const PageRegion& region = regions[static_cast<std::size_t>(index)];
    bytes += static_cast<std::int64_t>(region.end - region.begin);
  }
  if (found < 0) {
    bytes = present_bytes(pages, begin, end);
  }
  close(pages);
  return bytes;
}

std::string excess(const Census& over, const Census& usual) {
  std::ostringstream said;
  const auto compare = [&](const char* what, std::size_t has, std::size_t had) {
    if (has > had) {
      said << (has - had) << " more " << what << "; ";
    }
  };
  compare("bytes mapped", over.mapped, usual.mapped);
  compare("bytes writable", over.writable, usual.writable);
  compare("descriptors", over.descriptors, usual.descriptors);
  compare("threads", over.threads, usual.threads);
  compare("children", over.children, usual.children);
  if (over.mapped > usual.mapped || over.writable > usual.writable) {
    said << "\n";
    const std::set<std::string> known = lines_of(usual.maps);
    for (const std::string& line : lines_of(over.maps)) {
      said << (known.contains(line) ? "" : line + "\n");
    }
  }
  return said.str();
}

}  // namespace growstack::testing
