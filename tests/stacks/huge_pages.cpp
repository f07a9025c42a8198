// Huge pages: deep stacks have them and shallow ones do not. First demand_paging_huge, then the
// strategies that grow by SIGSEGV. The growth policy says where huge pages begin.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/old_kernel.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

using namespace growstack;
using namespace growstack::testing;
using growstack::handler::page_size;

namespace {

const StackOptions options{
    .reserve = 32 * MiB, .strategy = Strategy::demand_paging_huge, .name = "in huge pages"};

StackOptions huge_from(std::size_t depth, std::size_t reserve = 32 * MiB) {
  return {.reserve = reserve,
          .policy = {.huge_from = depth},
          .strategy = Strategy::demand_paging_huge,
          .name = "in huge pages from there on"};
}

/// Returns how many bytes in huge pages the mappings have that are a part of the stack.
std::size_t huge_bytes(const Stack& stack) {
  std::size_t bytes = 0;
  for (const Mapping& mapping : mappings_in(stack.floor(), stack.base())) {
    bytes += mapping.in_huge_pages;
  }
  return bytes;
}

/// Returns why there are no huge pages here. Empty if there are.
std::string missing() {
  const Support here = supported(Strategy::demand_paging_huge);
  return here.reason;
}

}  // namespace

TEST_CASE("the uppermost 2 MiB are small pages, so a shallow stack costs what it touches") {
  if (sanitized) {
    return skip("a sanitizer's own frames are larger");
  }
  Stack stack(options);
  call(stack, [] {});
  CHECK(stack.resident() == page_size());
  call(stack, [] { descend(MiB); });
  CHECK(stack.resident() < MiB + 64 * KiB);
  CHECK(huge_bytes(stack) == 0);
}

TEST_CASE("below the uppermost 2 MiB the kernel fills 2 MiB at a time, if it has them") {
  if (const std::string reason = missing(); !reason.empty()) {
    return skip(reason);
  }
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer dies of recursion deeper than 60,000 frames");
  }
  Stack stack(options);
  CHECK(call(stack, [] { return descend(24 * MiB); }) == 0);
  if (huge_bytes(stack) == 0) {
    return skip("the kernel found no free huge page");
  }
  CHECK(huge_bytes(stack) % huge_page == 0);
  CHECK(stack.resident() <= 24 * MiB + 2 * huge_page);
  CHECK(stack.trim() == std::error_code());
  CHECK(stack.resident() == 0);
  CHECK(huge_bytes(stack) == 0);
}

TEST_CASE("demand_paging_huge begins with huge pages where the policy says") {
  if (const std::string reason = missing(); !reason.empty()) {
    return skip(reason);
  }
  if (sanitized) {
    return skip("a sanitizer's own frames are larger");
  }
  for (const std::size_t depth : {64 * KiB, 256 * KiB, MiB + 4 * KiB, 2 * MiB}) {
    CAPTURE(depth);
    Stack stack(huge_from(depth));
    CHECK((reinterpret_cast<std::uintptr_t>(stack.base()) - depth) % huge_page == 0);
    CHECK(stack.reserved() == 32 * MiB);
    std::size_t just_above = 0;
    std::size_t just_below = 0;
    call(stack, [&] {
      const auto begin = reinterpret_cast<std::uintptr_t>(stack.base()) - depth;
      touch_in_one_jump(begin);
      just_above = huge_bytes(stack);
      touch_in_one_jump(begin - 1);
      just_below = huge_bytes(stack);
    });
    CHECK(just_above == 0);
    if (just_below == 0) {
      return skip("the kernel found no free huge page");
    }
    CHECK(just_below == huge_page);
  }
}

TEST_CASE(
    "demand_paging_huge has no huge pages if the policy says never, "
    "or in a stack of less than 4 MiB") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer dies of recursion deeper than 60,000 frames");
  }
  Stack never(huge_from(0));
  CHECK(call(never, [] { return descend(20 * MiB); }) == 0);
  CHECK(huge_bytes(never) == 0);
  CHECK(never.resident() <= 20 * MiB + 64 * KiB);
  CHECK_FALSE(never.trim());
  CHECK(never.resident() == 0);
  for (const std::size_t depth : {256 * KiB, 2 * MiB}) {
    Stack small(huge_from(depth, 3 * MiB));
    CHECK(call(small, [] { return descend(2 * MiB + 512 * KiB); }) == 0);
    CHECK(huge_bytes(small) == 0);
  }
}

TEST_CASE(
    "stacks of demand_paging_huge whose huge pages begin "
    "at different depths live beside and after each other") {
  if (const std::string reason = missing(); !reason.empty()) {
    return skip(reason);
  }
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer dies of recursion deeper than 60,000 frames");
  }
  for (int round = 0; round < 3; ++round) {
    std::vector<Stack> stacks;
    for (const std::size_t depth : {std::size_t{0}, 256 * KiB, 2 * MiB}) {
      stacks.emplace_back(huge_from(depth));
      CHECK(call(stacks.back(), [] { return descend(16 * MiB); }) == 0);
    }
    CHECK(huge_bytes(stacks[0]) == 0);
    if (huge_bytes(stacks[1]) == 0) {
      return skip("the kernel found no free huge page");
    }
    for (const Stack& stack : stacks) {
      CHECK(stack.resident() <= 16 * MiB + 64 * KiB + huge_page);
    }
  }
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

// ---- growth in huge pages -----------------------------------------------------------------------

namespace {

StackOptions growing(Strategy strategy, std::size_t huge_from, std::size_t reserve = 32 * MiB) {
  return {.reserve = reserve,
          .policy = {.huge_from = huge_from},
          .strategy = strategy,
          .name = "grows in huge pages"};
}

/// Returns why the kernel gives no huge page to a deep stack with these options. Empty if it does.
std::string none_for(const StackOptions& wanted) {
  if (const std::string reason = missing(); !reason.empty()) {
    return reason;
  }
  if (under_thread_sanitizer) {
    return "ThreadSanitizer dies of recursion deeper than 60,000 frames";
  }
  Stack stack(wanted);
  call(stack, [] { descend(16 * MiB); });
  return huge_bytes(stack) == 0 ? "the kernel found no free huge page" : std::string();
}

}  // namespace

STRATEGIES_WHERE(traits.grows_by == SIGSEGV,
                 "the uppermost 2 MiB come in small pages, and everything deeper in huge pages") {
  const StackOptions wanted = growing(Of::strategy, 2 * MiB);
  if (const std::string reason = none_for(wanted); !reason.empty()) {
    return skip(reason);
  }
  Stack stack(wanted);
  CHECK(call(stack, [] { return descend(2 * MiB - 128 * KiB); }) == 0);
  CHECK(huge_bytes(stack) == 0);
  CHECK(stack.resident() < 2 * MiB + 64 * KiB);
  CHECK(call(stack, [] { return descend(20 * MiB); }) == 0);
  CHECK(huge_bytes(stack) >= 16 * MiB);
  CHECK(huge_bytes(stack) % huge_page == 0);
  CHECK(stack.resident() <= 22 * MiB + 64 * KiB);
}

STRATEGIES_WHERE(traits.grows_by == SIGSEGV, "huge pages begin where the policy says") {
  const StackOptions wanted = growing(Of::strategy, 256 * KiB);
  if (const std::string reason = none_for(wanted); !reason.empty()) {
    return skip(reason);
  }
  Stack stack(wanted);
  CHECK(call(stack, [] { return descend(192 * KiB); }) == 0);
  CHECK(huge_bytes(stack) == 0);
  CHECK(call(stack, [] { return descend(300 * KiB); }) == 0);
  CHECK(huge_bytes(stack) == huge_page);
  CHECK((stack.committed() == 256 * KiB + huge_page || !Of::traits.exact_reserve));
}

STRATEGIES_WHERE(
    traits.grows_by == SIGSEGV,
    "a stack whose policy wants no huge pages has none, and neither has a small stack") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer dies of recursion deeper than 60,000 frames");
  }
  Stack without(growing(Of::strategy, 0));
  CHECK(call(without, [] { return descend(20 * MiB); }) == 0);
  CHECK(huge_bytes(without) == 0);
  CHECK(without.resident() <= 20 * MiB + 64 * KiB);
  Stack small(growing(Of::strategy, 256 * KiB, 3 * MiB));
  CHECK(call(small, [] { return descend(2 * MiB + 512 * KiB); }) == 0);
  CHECK(huge_bytes(small) == 0);
}

STRATEGIES_WHERE(traits.grows_by == SIGSEGV,
                 "a trim gives back whole huge pages, and the stack grows in huge pages again") {
  const StackOptions wanted = growing(Of::strategy, 2 * MiB);
  if (const std::string reason = none_for(wanted); !reason.empty()) {
    return skip(reason);
  }
  Stack stack(wanted);
  for (int round = 0; round < 3; ++round) {
    CHECK(call(stack, [] { return descend(20 * MiB); }) == 0);
    CHECK(huge_bytes(stack) >= 14 * MiB);
    CHECK_FALSE(stack.trim());
    CHECK(stack.resident() == 0);
    CHECK(huge_bytes(stack) == 0);
  }
}

STRATEGIES_WHERE(traits.grows_by == SIGSEGV,
                 "a trim gives back what lies below a suspended stack in the same huge page") {
  const StackOptions wanted = growing(Of::strategy, 2 * MiB);
  if (const std::string reason = none_for(wanted); !reason.empty()) {
    return skip(reason);
  }
  Stack stack(wanted);
  Stack other({.strategy = Of::strategy});
  for (std::size_t kept = 3 * MiB; kept < 9 * MiB; kept += MiB + 20 * KiB) {
    CAPTURE(kept);
    std::size_t after = 0;
    std::size_t wrong = 0;
    call(stack, [&] {
      wrong += descend(20 * MiB);
      at_stack_pointer(reinterpret_cast<std::uintptr_t>(stack.base()) - kept, [&] {
        const void* const stack_pointer = __builtin_frame_address(0);
        call(other, [&] {
          wrong += stack.trim_below(static_cast<const char*>(stack_pointer) - 4 * KiB) ? 1 : 0;
        });
        after = stack.resident();
        // On the way back down are markers or permissions that the trim has left.
        wrong += descend(3 * MiB);
      });
      wrong += descend(25 * MiB);
    });
    CHECK(wrong == 0);
    CHECK(after <= kept + 256 * KiB);
  }
}

STRATEGIES_WHERE(traits.grows_by == SIGSEGV,
                 "a running stack keeps the whole of a huge page into which its trim reaches") {
  const StackOptions wanted = growing(Of::strategy, 2 * MiB);
  if (const std::string reason = none_for(wanted); !reason.empty()) {
    return skip(reason);
  }
  Stack stack(wanted);
  std::size_t wrong = 0;
  std::size_t huge_after = 0;
  std::size_t resident_after = 0;
  call(stack, [&] {
    at_stack_pointer(reinterpret_cast<std::uintptr_t>(stack.base()) - 3 * MiB, [&] {
      wrong += descend(20 * MiB);
      wrong += Stack::trim_current() ? 1 : 0;
      huge_after = huge_bytes(stack);
      resident_after = stack.resident();
    });
  });
  CHECK(wrong == 0);
  CHECK(huge_after == 3 * huge_page);  // twice 3 MiB and 64 KiB are kept
  CHECK(resident_after <= 8 * MiB);
}

STRATEGIES_WHERE(traits.grows_by == SIGSEGV,
                 "ten stacks with huge pages take no more mappings each than ten without") {
  if (sanitized) {
    return skip("a sanitizer's shadow memory is mapped piece by piece");
  }
  const auto mappings_of_ten = [](std::size_t huge_from) {
    std::vector<Stack> stacks;
    stacks.emplace_back(growing(Of::strategy, huge_from));  // maps what all stacks share
    const std::size_t before = mapping_count();
    for (int count = 0; count < 10; ++count) {
      stacks.emplace_back(growing(Of::strategy, huge_from));
      call(stacks.back(), [] { descend(20 * MiB); });
      static_cast<void>(stacks.back().trim());
      call(stacks.back(), [] { descend(10 * MiB); });
    }
    return mapping_count() - before;
  };
  // One more arena, because the slots are larger.
  CHECK(mappings_of_ten(2 * MiB) <= mappings_of_ten(0) + 2);
}
