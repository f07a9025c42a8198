#include "parts/memory.hpp"

#include <growstack/handler/pages.hpp>

#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <string>
#include <system_error>

namespace growstack::bench {
namespace {

/// The soft limit, to `bytes` or the hard limit if that is less.
void raise_limit(__rlimit_resource_t resource, rlim_t bytes) {
  rlimit limit{};
  if (getrlimit(resource, &limit) != 0) {
    throw std::system_error(errno, std::generic_category(), "getrlimit");
  }
  if (limit.rlim_cur >= std::min(bytes, limit.rlim_max)) {  // RLIM_INFINITY is the largest value
    return;
  }
  limit.rlim_cur = std::min(bytes, limit.rlim_max);
  if (setrlimit(resource, &limit) != 0) {
    throw std::system_error(errno, std::generic_category(), "setrlimit");
  }
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

void touch_and_free(std::size_t bytes, Pages pages) {
  void* const mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) {
    return;  // nothing to touch, or measured cold then: a limit this tight shows in the machine's
             // table
  }
  // Where the kernel knows no huge pages it refuses the advice, which is as well.
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
