// A process that has used up the mappings which it may have.
#pragma once

#include <growstack/handler/pages.hpp>

#include "support/smaps.hpp"

#include <sys/mman.h>

#include <cstddef>

namespace growstack::testing {

/// Uses up all mappings except `left`: every other page of a reservation gets other permissions.
class AllMappings {
 public:
  explicit AllMappings(std::size_t left) {
    const std::size_t most = number_in("/proc/sys/vm/max_map_count");
    const std::size_t now = mapping_count();
    const std::size_t page = handler::page_size();
    size_ = (most + 2) * page;
    memory_ = static_cast<char*>(
        mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    // Each such page makes two more mappings.
    for (std::size_t pair = 0; now + 1 + 2 * (pair + 1) + left <= most; ++pair) {
      if (mprotect(memory_ + (2 * pair + 1) * page, page, PROT_READ) != 0) {
        break;
      }
    }
  }
  ~AllMappings() { munmap(memory_, size_); }
  AllMappings(const AllMappings&) = delete;
  AllMappings& operator=(const AllMappings&) = delete;

 private:
  char* memory_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace growstack::testing
