// demand_paging_huge: huge pages below the uppermost 2 MiB, small ones there.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/old_kernel.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"

#include <sys/resource.h>

#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <string>

using namespace growstack;
using namespace growstack::testing;
using growstack::handler::page_size;

namespace {

constexpr std::size_t MiB = std::size_t{1} << 20U;

const StackOptions options{.reserve = 32 * MiB, .strategy = Strategy::demand_paging_huge, .name = "in huge pages"};

/// Bytes in huge pages, of the mappings in [begin, end).
std::size_t huge_bytes(const void* begin, const void* end) {
  std::ifstream smaps("/proc/self/smaps");
  std::size_t bytes = 0;
  bool within = false;
  for (std::string line; std::getline(smaps, line);) {
    std::uintptr_t from = 0;
    std::uintptr_t to = 0;
    std::size_t kilobytes = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2) {
      within = from >= reinterpret_cast<std::uintptr_t>(begin) && to <= reinterpret_cast<std::uintptr_t>(end);
    } else if (within && std::sscanf(line.c_str(), "AnonHugePages: %zu kB", &kilobytes) == 1) {
      bytes += kilobytes * 1024;
    }
  }
  return bytes;
}

/// Why there are no huge pages here; empty if there are.
std::string missing() {
  const Support here = supported(Strategy::demand_paging_huge);
  return here.reason;
}

}  // namespace

TEST_CASE("the uppermost 2 MiB are small pages: a shallow stack costs what it touches") {
  if (sanitized) {
    return skip("a sanitizer's own frames are larger");
  }
  Stack stack(options);
  call(stack, [] {});
  CHECK(stack.resident() == page_size());
  call(stack, [] { descend(MiB); });
  CHECK(stack.resident() < MiB + 64 * 1024);
  CHECK(huge_bytes(stack.floor(), stack.base()) == 0);
}

TEST_CASE("deeper the kernel fills 2 MiB at a time, where it has them") {
  if (const std::string reason = missing(); !reason.empty()) {
    return skip(reason);
  }
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer dies of recursion deeper than 60,000 frames");
  }
  Stack stack(options);
  CHECK(call(stack, [] { return descend(24 * MiB); }) == 0);
  if (huge_bytes(stack.floor(), stack.base()) == 0) {
    return skip("the kernel found no free huge page");
  }
  CHECK(huge_bytes(stack.floor(), stack.base()) % huge_page == 0);
  CHECK(stack.resident() <= 24 * MiB + 2 * huge_page);
  CHECK(stack.trim() == std::error_code());
  CHECK(stack.resident() == 0);
  CHECK(huge_bytes(stack.floor(), stack.base()) == 0);
}

TEST_CASE("on a kernel without huge pages the error or the reason says so") {
  InjectedError::in_a_thread([](InjectedError& injected) {
    without_huge_pages(injected);
    const Support here = supported(Strategy::demand_paging_huge);
    if (here) {
      const Stack stack(options);
      return;  // it works, in small pages
    }
    CHECK(contains(here.reason, "huge"));
  });
}
