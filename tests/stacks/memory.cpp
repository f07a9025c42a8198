// What a stack costs, and that all of it comes back: resident pages, charge (what the kernel counts
// against the overcommit limit and RLIMIT_DATA), mappings, descriptors.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/handler/slot.hpp>

#include "memory/residency.hpp"
#include "stacks/stack_access.hpp"

#include "support/address_of.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/old_kernel.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

using namespace growstack::testing;
using growstack::call;
using growstack::ProcessCounters;
using growstack::Stack;
using growstack::StackOptions;
using growstack::Strategy;
using growstack::handler::page_size;

namespace {

constexpr std::size_t initial_commit = 64 * KiB;

StackOptions options_for(Strategy strategy) { return {.reserve = 6 * MiB, .strategy = strategy}; }

/// Makes what stays for good from the first stack on, so that it is not measured: handler, threads,
/// table and the memory of records.
void make_and_destroy_the_first_stack(Strategy strategy) {
  Stack first(options_for(strategy));
  call(first, [] { descend(4 * MiB); });
}

/// A private mapping of one page, which is unmapped at the end.
class Page {
 public:
  explicit Page(int protection)
      : memory_(mmap(nullptr, page_size(), protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                     -1, 0)) {}
  ~Page() { munmap(memory_, page_size()); }
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;
  [[nodiscard]] unsigned char* bytes() const { return static_cast<unsigned char*>(memory_); }
  [[nodiscard]] std::size_t charged() const {
    return charged_bytes(bytes(), bytes() + page_size());
  }

 private:
  void* memory_;
};

}  // namespace

// ---- the kernel's rules -------------------------------------------------------------------------

TEST_CASE(
    "the kernel charges nothing for PROT_NONE, and everything once the memory is made writable") {
  const Page page(PROT_NONE);
  CHECK(page.charged() == 0);
  // Where overcommit is allowed, a mapping that was made with MAP_NORESERVE is never charged. One
  // that was made without it is charged.
  void* const ordinary = mmap(nullptr, page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  auto* const bytes = static_cast<unsigned char*>(ordinary);
  CHECK(charged_bytes(bytes, bytes + page_size()) == 0);
  REQUIRE(mprotect(ordinary, page_size(), PROT_READ | PROT_WRITE) == 0);
  CHECK(charged_bytes(bytes, bytes + page_size()) == page_size());
  munmap(ordinary, page_size());
}

TEST_CASE(
    "neither PROT_NONE nor MADV_DONTNEED takes a charge back, "
    "but a fresh mapping over the memory does") {
  void* const ordinary =
      mmap(nullptr, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  auto* const bytes = static_cast<unsigned char*>(ordinary);
  bytes[0] = 1;
  REQUIRE(madvise(ordinary, page_size(), MADV_DONTNEED) == 0);
  CHECK(charged_bytes(bytes, bytes + page_size()) == page_size());
  REQUIRE(mprotect(ordinary, page_size(), PROT_NONE) == 0);
  CHECK(charged_bytes(bytes, bytes + page_size()) == page_size());
  REQUIRE(mmap(ordinary, page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
          ordinary);
  CHECK(charged_bytes(bytes, bytes + page_size()) == 0);
  munmap(ordinary, page_size());
}

// ---- charge -------------------------------------------------------------------------------------

STRATEGIES_WHERE(traits.charged,
                 "exactly what is committed is charged, at every depth and after every trim") {
  Stack stack(options_for(Of::strategy));
  const auto charged = [&] { return charged_bytes(stack.floor(), stack.base()); };
  CHECK(charged() == initial_commit);
  for (int round = 0; round < 2; ++round) {
    CAPTURE(round);
    call(stack, [] { descend(3 * MiB); });
    CHECK(charged() == stack.committed());
    CHECK(charged() >= 3 * MiB);
    REQUIRE(!stack.trim());
    CHECK(charged() == initial_commit);
    CHECK(stack.committed() == initial_commit);
  }
}

STRATEGIES_WHERE(traits.charged, "a trim of the running stack takes its charge back") {
  Stack stack(options_for(Of::strategy));
  std::size_t before = 0;
  std::size_t after = 0;
  call(stack, [&] {
    descend(3 * MiB);
    before = charged_bytes(stack.floor(), stack.base());
    static_cast<void>(Stack::trim_current());
    after = charged_bytes(stack.floor(), stack.base());
  });
  CHECK(before >= 3 * MiB);
  CHECK(after <= 128 * KiB);
}

TEST_CASE("demand paging is charged for nothing, however deep the stack went") {
  Stack stack(options_for(Strategy::demand_paging));
  call(stack, [] { descend(3 * MiB); });
  CHECK(stack.resident() >= 3 * MiB);
  CHECK(charged_bytes(stack.floor(), stack.base()) == 0);
}

EVERY_STRATEGY("the process is charged as much as before once its stacks are gone") {
  if (sanitized) {
    return skip("a sanitizer's shadow memory is charged with the stacks and stays");
  }
  make_and_destroy_the_first_stack(Of::strategy);
  std::vector<Stack> stacks;
  stacks.reserve(32);
  const std::size_t charged = charged_bytes();
  const std::size_t data = status_bytes("VmData");
  for (int round = 0; round < 2; ++round) {
    CAPTURE(round);
    for (int count = 0; count < 32; ++count) {
      stacks.emplace_back(options_for(Of::strategy));
      call(stacks.back(), [] { descend(4 * MiB); });
    }
    if (Of::traits.charged) {
      CHECK(charged_bytes() >= charged + 32 * 4 * MiB);
    }
    stacks.clear();
    CHECK(charged_bytes() <= charged + MiB);  // the allocator and the records may keep some
    growstack::trim();
    CHECK(status_bytes("VmData") <= data + MiB);
  }
}

STRATEGIES_WHERE(traits.grows_by_protection,
                 "RLIMIT_DATA counts what is committed, and no longer counts what was trimmed") {
  if (sanitized) {
    return skip("a sanitizer's own memory counts against RLIMIT_DATA");
  }
  make_and_destroy_the_first_stack(Of::strategy);
  Stack stack(options_for(Of::strategy));
  const std::size_t fresh = status_bytes("VmData");
  call(stack, [] { descend(3 * MiB); });
  CHECK(status_bytes("VmData") == fresh + stack.committed() - initial_commit);
  REQUIRE(!stack.trim());
  CHECK(status_bytes("VmData") == fresh);
}

// ---- resident memory ----------------------------------------------------------------------------

STRATEGIES_WHERE(traits.trims,
                 "the resident memory of the process falls by what a trim gives back") {
  if (sanitized) {
    return skip("a sanitizer's shadow memory becomes resident with the stack and stays");
  }
  make_and_destroy_the_first_stack(Of::strategy);
  Stack stack(options_for(Of::strategy));
  for (int round = 0; round < 2; ++round) {
    CAPTURE(round);
    call(stack, [] { descend(5 * MiB); });
    const std::size_t deep = status_bytes("VmRSS");
    REQUIRE(!stack.trim());
    const std::size_t trimmed = status_bytes("VmRSS");
    CHECK(deep >= trimmed + 4 * MiB);
  }
}

namespace {

/// Twelve pages: page 1 was read, page 4 was written, page 7 holds zeros that were written, and a
/// forked child shares page 10, into which something was written. The others are untouched.
struct FourPagesOfTwelve {
  unsigned char* const bytes = static_cast<unsigned char*>(mmap(
      nullptr, size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));

  FourPagesOfTwelve() {
    madvise(bytes, size(), MADV_NOHUGEPAGE);
    page(10) = 42;
  }
  ~FourPagesOfTwelve() { munmap(bytes, size()); }
  FourPagesOfTwelve(const FourPagesOfTwelve&) = delete;
  FourPagesOfTwelve& operator=(const FourPagesOfTwelve&) = delete;

  void touch_the_others() const {
    static_cast<void>(page(1) == 0);
    page(4) = 1;
    page(7) = 0;
  }
  [[nodiscard]] static std::size_t size() { return 12 * page_size(); }
  [[nodiscard]] volatile unsigned char& page(std::size_t index) const {
    return bytes[index * page_size()];
  }
  [[nodiscard]] std::size_t resident_from(std::size_t index) const {
    return growstack::resident(reinterpret_cast<std::uintptr_t>(&page(index)),
                               size() - index * page_size());
  }
  [[nodiscard]] std::size_t lowest_from(std::size_t index) const {
    const auto begin = reinterpret_cast<std::uintptr_t>(&page(index));
    const std::uintptr_t lowest = growstack::lowest_resident(begin, size() - index * page_size());
    return (lowest - reinterpret_cast<std::uintptr_t>(bytes)) / page_size();
  }
};

/// Runs body() while a forked child has a copy of all memory. Returns what body() returns.
template <class Body>
bool while_a_child_lives(const Body& body) {
  int wait_for_end[2] = {};
  if (pipe(wait_for_end) != 0) {
    return false;
  }
  const pid_t child = fork();
  if (child == 0) {
    close(wait_for_end[1]);
    char nothing = 0;
    _exit(static_cast<int>(read(wait_for_end[0], &nothing, 1)));
  }
  close(wait_for_end[0]);
  const bool result = body();
  close(wait_for_end[1]);
  waitpid(child, nullptr, 0);
  return result;
}

/// Returns whether exactly the three pages that cost memory are found.
bool finds_what_costs_memory(const FourPagesOfTwelve& pages) {
  return pages.resident_from(0) == 3 * page_size() && pages.resident_from(5) == 2 * page_size() &&
         pages.resident_from(11) == 0 && pages.lowest_from(0) == 4 && pages.lowest_from(5) == 7 &&
         pages.lowest_from(8) == 10 && pages.lowest_from(11) == 12;
}

}  // namespace

TEST_CASE(
    "a page is resident if it was written to, also with zeros, and also if a forked child shares "
    "it, but not if it was only read") {
  const FourPagesOfTwelve pages;
  CHECK(while_a_child_lives([&] {
    pages.touch_the_others();
    return finds_what_costs_memory(pages);
  }));
  CHECK(finds_what_costs_memory(pages));
}

TEST_CASE("on a kernel without PAGEMAP_SCAN the same pages are resident") {
  const FourPagesOfTwelve pages;
  CHECK(while_a_child_lives([&] {
    pages.touch_the_others();
    bool found = false;
    InjectedError::in_a_thread([&](InjectedError& injected) {
      without_pagemap_scan(injected);
      found = finds_what_costs_memory(pages);
    });
    return found;
  }));
}

TEST_CASE("without /proc a page that was only read is resident too") {
  const FourPagesOfTwelve pages;
  pages.touch_the_others();
  std::size_t resident = 0;
  std::size_t lowest = 0;
  InjectedError::in_a_thread([&](InjectedError& injected) {
    injected.refuse(SYS_openat, ENOENT);
    resident = pages.resident_from(0);
    lowest = pages.lowest_from(0);
  });
  CHECK(resident == 4 * page_size());
  CHECK(lowest == 1);
}

STRATEGIES_WHERE(traits.trims, "trimmed memory comes back as zeros") {
  Stack stack(options_for(Of::strategy));
  const auto* const deep = static_cast<const volatile unsigned char*>(stack.base()) - 2 * MiB;
  unsigned char before = 0;
  unsigned char after = 1;
  call(stack, [&] {
    touch_in_one_jump(reinterpret_cast<std::uintptr_t>(deep), 42);
    before = *deep;
  });
  REQUIRE(!stack.trim());
  call(stack, [&] {
    touch_in_one_jump(reinterpret_cast<std::uintptr_t>(deep) - 64);
    after = *deep;
  });
  CHECK(before == 42);
  CHECK(after == 0);
}

// ---- nothing stays behind -----------------------------------------------------------------------

STRATEGIES_WHERE(traits.own_address_space,
                 "a thousand stacks that were made and destroyed "
                 "leave no mapping, descriptor or thread behind") {
  make_and_destroy_the_first_stack(Of::strategy);
  std::vector<Stack> stacks;
  stacks.reserve(1000);
  const StackOptions options{.reserve = MiB, .strategy = Of::strategy};
  std::optional<std::size_t> mappings;
  const std::size_t descriptors = descriptor_count();
  const std::size_t threads = thread_count();
  const std::size_t address_space = status_bytes("VmSize");
  for (int round = 0; round < 2; ++round) {
    CAPTURE(round);
    for (int count = 0; count < 1000; ++count) {
      stacks.emplace_back(options);
      if (count % 10 == 0) {
        call(stacks.back(), [] { descend(512 * KiB); });
      }
    }
    CHECK(descriptor_count() == descriptors);
    CHECK(thread_count() == threads);
    CHECK(status_bytes("VmSize") >= address_space + 1000 * MiB);
    stacks.clear();
    CHECK(growstack::process_counters().stacks == 0);
    CHECK(growstack::process_counters().arenas == 0);
    // The first round may leave memory of records, which the second round uses.
    if (mappings && !sanitized) {  // a sanitizer's shadow memory is mapped piece by piece
      CHECK(mapping_count() <= *mappings);
    }
    mappings = mapping_count();
    CHECK(status_bytes("VmSize") <= address_space + 64 * MiB);
  }
}

EVERY_STRATEGY("stacks destroyed in any order leave no mapping behind") {
  if (under_address_sanitizer && !Of::traits.own_address_space) {
    return skip("AddressSanitizer keeps what was freed in quarantine");
  }
  std::vector<std::unique_ptr<Stack>> stacks;
  for (int count = 0; count < 100; ++count) {
    stacks.push_back(
        std::make_unique<Stack>(StackOptions{.reserve = MiB, .strategy = Of::strategy}));
  }
  std::vector<std::pair<const char*, const char*>> places;
  for (const auto& stack : stacks) {
    call(*stack, [] { descend(300 * KiB); });
    places.emplace_back(static_cast<const char*>(stack->floor()),
                        static_cast<const char*>(stack->base()));
  }
  for (std::size_t step = 0; step < stacks.size(); ++step) {
    stacks[step * 37 % stacks.size()].reset();
  }
  CHECK(growstack::process_counters().arenas == 0);
  for (const Mapping& mapping : mappings()) {
    for (const auto& [floor, base] : places) {
      CHECK((mapping.end <= reinterpret_cast<std::uintptr_t>(floor) ||
             mapping.begin >= reinterpret_cast<std::uintptr_t>(base)));
    }
  }
}

STRATEGIES_WHERE(traits.grows_by_protection,
                 "a stack costs two mappings, however often it grew and was trimmed") {
  if (sanitized) {
    return skip("a sanitizer's shadow memory is mapped piece by piece");
  }
  make_and_destroy_the_first_stack(Of::strategy);
  std::vector<Stack> stacks;
  stacks.reserve(50);
  for (int count = 0; count < 9; ++count) {
    stacks.emplace_back(options_for(Of::strategy));
    for (int round = 0; round < 3; ++round) {
      call(stacks.back(), [round] { descend(static_cast<std::size_t>(1 + round) * MiB); });
      REQUIRE(
          !stacks.back().trim_below(static_cast<const char*>(stacks.back().base()) - 512 * KiB));
    }
  }
  for (const Stack& stack : stacks) {
    CHECK(mappings_in(static_cast<const char*>(stack.floor()) - page_size(), stack.base()).size() ==
          2);
  }
}

STRATEGIES_WHERE(traits.guarded && !traits.guard_is_mapped_apart,
                 "a thousand stacks take mappings for each arena, and not for each stack") {
  if (sanitized) {
    return skip("a sanitizer's shadow memory is mapped piece by piece");
  }
  std::vector<Stack> stacks;
  stacks.reserve(1000);
  const std::size_t before = mapping_count();
  for (int count = 0; count < 1000; ++count) {
    stacks.emplace_back(StackOptions{.reserve = MiB, .strategy = Of::strategy});
    call(stacks.back(), [] { descend(100 * KiB); });
  }
  const std::size_t arenas = growstack::process_counters().arenas;
  CHECK(arenas <= 20);
  CHECK(mapping_count() <= before + 2 * arenas + 4);
}

// ---- counters -----------------------------------------------------------------------------------

EVERY_STRATEGY("the counters of the process are the sum of its stacks") {
  const ProcessCounters nothing = growstack::process_counters();
  CHECK(nothing.stacks == 0);
  CHECK(nothing.arenas == 0);
  CHECK(nothing.reserved == 0);
  CHECK(nothing.committed == 0);
  CHECK(nothing.growth_faults == 0);
  std::uint64_t faults = 0;
  {
    Stack first(options_for(Of::strategy));
    Stack second({.reserve = 2 * MiB, .strategy = Of::strategy});
    call(first, [] { descend(3 * MiB); });
    call(second, [] { descend(MiB); });
    const ProcessCounters two = growstack::process_counters();
    CHECK(two.stacks == 2);
    CHECK(two.arenas == 2);  // because their sizes differ
    CHECK(two.reserved == first.reserved() + second.reserved());
    CHECK(two.committed == first.committed() + second.committed());
    faults = first.counters().growth_faults + second.counters().growth_faults;
    CHECK(two.growth_faults == faults);
    CHECK(growstack::handler::counters().growth == faults);
  }
  {
    const Stack stays(options_for(Of::strategy));
    { const Stack goes(options_for(Of::strategy)); }
    CHECK(growstack::process_counters().stacks == 1);
    CHECK(growstack::process_counters().reserved == stays.reserved());
  }
  const ProcessCounters after = growstack::process_counters();
  CHECK(after.stacks == 0);
  CHECK(after.arenas == 0);
  CHECK(after.reserved == 0);
  CHECK(after.committed == 0);
  CHECK(after.growth_faults == faults);
}

STRATEGIES_WHERE(traits.grows_by_events_only(),
                 "every growth is counted once, for the thread that committed it") {
  Stack stack(
      {.policy =
           {.factor = 1.0, .least_step = MiB, .largest_step = MiB, .headroom = 0, .huge_from = 0},
       .strategy = Of::strategy});
  const std::size_t page = page_size();
  call(stack, [&] {
    for (std::size_t step = 1; step <= 100; ++step) {
      touch_in_one_jump(reinterpret_cast<std::uintptr_t>(stack.base()) - initial_commit -
                        step * MiB + MiB - page);
    }
  });
  CHECK(stack.counters().growth_faults == 100);
  CHECK(stack.committed() == initial_commit + 100 * MiB);
  const growstack::handler::Counters counters = growstack::handler::counters();
  CHECK(counters.growth == 100);
  CHECK(counters.by_helper + counters.helper_missing ==
        (Of::strategy == Strategy::pipe_helper ? 100 : 0));
  CHECK(counters.remote_growth == 0);
  CHECK(counters.foreign == 0);
  CHECK(counters.overflow == 0);
}

TEST_CASE("stacks of one size share a reservation") {
  std::vector<Stack> stacks;
  for (int count = 0; count < 10; ++count) {
    stacks.emplace_back(StackOptions{.reserve = MiB});
  }
  CHECK(growstack::process_counters().stacks == 10);
  CHECK(growstack::process_counters().arenas == 1);
}

EVERY_STRATEGY("what grew while a trim went on is given back by the next trim") {
  if (!Of::traits.trims || Of::traits.grows_by == 0) {
    return skip("a fault does not grow it");
  }
  Stack stack({.reserve = 1 * MiB, .policy = {.headroom = 0}, .strategy = Of::traits.strategy});
  const std::uintptr_t begin = address_of(stack.limit()) - 4 * KiB;
  auto& page = *reinterpret_cast<volatile char*>(begin);
  std::atomic<std::uint32_t>& marks = growstack::StackAccess::slot(stack).record().marks;
  marks |= growstack::handler::trimming_mark;  // what another thread sees during a trim
  const char read = page;
  marks &= ~growstack::handler::trimming_mark;
  CHECK(read == 0);
  page = 1;
  REQUIRE_FALSE(stack.trim());
  CHECK(page == 0);
}
