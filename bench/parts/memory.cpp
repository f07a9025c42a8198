#include "parts/memory.hpp"

#include "parts/errors.hpp"

#include <growstack/handler/pages.hpp>

#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace growstack::bench {
namespace {

/// Raises the soft limit to `bytes`, or to the hard limit if that is less.
void raise_limit(__rlimit_resource_t resource, rlim_t bytes) {
  rlimit limit{};
  require(getrlimit(resource, &limit) == 0, "getrlimit");
  if (limit.rlim_cur >= std::min(bytes, limit.rlim_max)) {  // RLIM_INFINITY is the largest value
    return;
  }
  limit.rlim_cur = std::min(bytes, limit.rlim_max);
  require(setrlimit(resource, &limit) == 0, "setrlimit");
}

}  // namespace

std::uint64_t meminfo_bytes(std::string_view name) {
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    if (line.starts_with(name) && line.substr(name.size(), 1) == ":") {
      return std::stoull(line.substr(name.size() + 1)) * 1024;
    }
  }
  return 0;
}

std::string huge_pages() {
  std::ifstream modes("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string mode;
  while (modes >> mode && mode.front() != '[') {
  }
  return mode.empty() ? "none" : mode.substr(1, mode.size() - 2);
}

void touch_and_free(std::size_t bytes, Pages pages) {
  void* const mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) {
    return;  // the measurement finds cold memory then; the table MACHINE shows so tight a limit
  }
  // A kernel without huge pages refuses the advice, which does no harm.
  static_cast<void>(madvise(mapped, bytes, pages == Pages::huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE));
  auto* const memory = static_cast<volatile char*>(mapped);
  for (std::size_t at = 0; at < bytes; at += handler::page_size()) {
    memory[at] = 1;
  }
  munmap(mapped, bytes);
}

void warm_memory(std::size_t bytes, Pages pages) {
  touch_and_free(
      handler::page_down(std::min<std::uint64_t>(bytes, meminfo_bytes("MemAvailable") / 2)), pages);
}

void raise_stack_limit(std::uint64_t bytes) { raise_limit(RLIMIT_STACK, bytes); }

void raise_lock_limit() { raise_limit(RLIMIT_MEMLOCK, RLIM_INFINITY); }

}  // namespace growstack::bench
