// A process that has used up the mappings which it may have.
#pragma once

#include <growstack/handler/pages.hpp>

#include "support/smaps.hpp"

#include <sys/mman.h>

#include <cstddef>

namespace growstack::testing {

/// Uses up mappings: every other page of a reservation gets other permissions, which makes two more
/// mappings of each.
class AllMappings {
 public:
  /// Uses up all mappings except `left`.
  explicit AllMappings(std::size_t left)
      : AllMappings(Pages{number_in("/proc/sys/vm/max_map_count") - mapping_count() - left}) {}

  /// Uses up as many mappings as the reservation has pages, or all that are left.
  struct Pages {
    std::size_t count;
  };
  explicit AllMappings(Pages pages) : size_(pages.count * handler::page_size()) {
    memory_ = static_cast<char*>(
        mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    const std::size_t page = handler::page_size();
    for (std::size_t at = page; at + page < size_ && mprotect(memory_ + at, page, PROT_READ) == 0;
         at += 2 * page) {
    }
  }

  ~AllMappings() { munmap(memory_, size_); }
  AllMappings(const AllMappings&) = delete;
  AllMappings& operator=(const AllMappings&) = delete;

 private:
  char* memory_ = nullptr;
  std::size_t size_;
};

}  // namespace growstack::testing
