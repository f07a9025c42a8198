// What every strategy promises, tried with each strategy: where a stack begins, how it grows, what
// it gives back, how it ends.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/stack_pool.hpp>

#include "support/address_of.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/probe.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/suspended_fiber.hpp"
#include "support/units.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

using namespace growstack::testing;
using growstack::call;
using growstack::Stack;
using growstack::StackOptions;
using growstack::handler::page_size;

namespace {

/// Is below the usual RLIMIT_STACK, which bounds grows_down.
constexpr std::size_t reserve = 6 * MiB;

StackOptions options_for(const Traits& of) {
  return {.reserve = reserve,
          .strategy = of.strategy,
          .name = std::string("of ") + std::string(of.name)};
}

/// Returns how many bytes a fresh stack has committed.
std::size_t committed_at_first(const Traits& of, const Stack& stack) {
  return of.limit_moves ? growstack::GrowthPolicy{}.initial_commit : stack.reserved();
}

/// Returns how many pages of [begin, end) are in memory. Not all of them need be mapped.
std::size_t resident_pages(const void* begin, const void* end) {
  std::size_t pages = 0;
  for (std::uintptr_t at = address_of(begin); at < address_of(end); at += page_size()) {
    unsigned char residency = 0;
    const bool mapped = mincore(reinterpret_cast<void*>(at), page_size(), &residency) == 0;
    pages += mapped && residency % 2 == 1 ? 1 : 0;
  }
  return pages;
}

/// Reads one byte of each page. Returns the number of pages.
std::size_t read_every_page(const void* begin, const void* end) {
  std::size_t pages = 0;
  for (std::uintptr_t at = address_of(begin); at < address_of(end); at += page_size()) {
    static_cast<void>(*reinterpret_cast<const volatile unsigned char*>(at));
    ++pages;
  }
  return pages;
}

/// The row of a strategy in the table of tests, or null.
const Traits* find_traits(growstack::Strategy strategy) {
  const Traits* found = nullptr;
  const auto look = [&](const Traits& row) { found = row.strategy == strategy ? &row : found; };
  std::apply([&](auto... each) { (look(decltype(each)::traits), ...); }, EveryStrategy());
  return found;
}

/// By which signal such an event arrives, or 0.
int signal_of(growstack::GrowthEvent event) {
  return event == growstack::GrowthEvent::segmentation_fault ? SIGSEGV
         : event == growstack::GrowthEvent::bus_error        ? SIGBUS
                                                             : 0;
}

}  // namespace

// ---- how it begins ------------------------------------------------------------------------------

TEST_CASE("what the library says of each strategy is what the table of these tests says") {
  const auto described = growstack::strategies();
  CHECK(described.size() == std::tuple_size_v<EveryStrategy>);
  std::vector<unsigned> ranks;
  for (std::size_t position = 0; position < described.size(); ++position) {
    const growstack::StrategyDescription& is = described[position];
    CAPTURE(is.name);
    CHECK(static_cast<std::size_t>(is.strategy) == position);
    CHECK(growstack::name(is.strategy) == is.name);
    CHECK(growstack::strategy_from_name(is.name) == is.strategy);
    REQUIRE(growstack::describe(is.strategy) != nullptr);
    CHECK(growstack::describe(is.strategy)->name == is.name);
    const Traits* const found = find_traits(is.strategy);
    REQUIRE_MESSAGE(found != nullptr, "no row in support/each_strategy.hpp");
    CHECK(is.name == found->name);
    CHECK(signal_of(is.event) == found->grows_by);
    CHECK((is.event != growstack::GrowthEvent::none) == found->growth_events);
    CHECK(is.limit_is_exact == found->grows_by_protection);
    CHECK((is.charge == growstack::DataCharge::at_once) == !found->charged);
    CHECK(is.guarded == found->guarded);
    CHECK(is.trims == found->trims);
    CHECK(is.pools() == found->pools);
    CHECK(is.own_address_space == found->own_address_space);
    CHECK(is.locks_memory == found->locks_memory);
    CHECK((is.huge_pages || !found->huge_pages));
    CHECK((is.largest_factor == 2) == found->by_userfaultfd);
    if (is.automatic_rank != 0) {
      ranks.push_back(is.automatic_rank);
    }
  }
  CHECK(growstack::describe(growstack::Strategy::automatic) == nullptr);
  std::sort(ranks.begin(), ranks.end());
  CHECK(ranks == std::vector<unsigned>{1, 2, 3});
}

EVERY_STRATEGY("a strategy knows its name and works here") {
  CHECK(name(Of::strategy) == Of::traits.name);
  CHECK(growstack::strategy_from_name(Of::traits.name) == Of::strategy);
  CHECK(growstack::supported(Of::strategy));
}

EVERY_STRATEGY("a fresh stack is empty, lies where it says, and knows its name and strategy") {
  const StackOptions options = options_for(Of::traits);
  const Stack stack(options);
  CHECK(address_of(stack.base()) % page_size() == 0);
  CHECK(address_of(stack.base()) - address_of(stack.floor()) == stack.reserved());
  CHECK(stack.reserved() >= reserve);
  if (Of::traits.exact_reserve) {
    CHECK(stack.reserved() == reserve);
  } else {
    CHECK(stack.reserved() < reserve + huge_page);
    CHECK((stack.reserved() + options.guard) % huge_page == 0);
  }
  CHECK((!Of::traits.huge_pages || address_of(stack.base()) % huge_page == 0));
  CHECK(address_of(stack.base()) - address_of(stack.limit()) == stack.committed());
  CHECK(stack.committed() == committed_at_first(Of::traits, stack));
  if (Of::traits.starts_empty) {
    CHECK(stack.resident() == 0);
    CHECK(stack.high_water_mark() == (Of::traits.limit_moves ? stack.committed() : 0));
  }
  CHECK(stack.strategy() == Of::strategy);
  CHECK(stack.name() == options.name);
  CHECK(stack.counters().growth_faults == 0);
  CHECK(stack.counters().remote_growth_faults == 0);
}

STRATEGIES_WHERE(traits.starts_empty, "one page is resident once something has run on the stack") {
  Stack stack(options_for(Of::traits));
  call(stack, [] {});
  if (sanitized) {
    CHECK(stack.resident() >= page_size());
    CHECK(stack.resident() <= 64 * KiB);
  } else {
    CHECK(stack.resident() == page_size());
  }
  CHECK(stack.counters().growth_faults == 0);
}

STRATEGIES_WHERE(traits.guarded, "no byte of the guard is readable or writable") {
  const StackOptions options = options_for(Of::traits);
  const Stack stack(options);
  const std::uintptr_t floor = address_of(stack.floor());
  CHECK(readable_pages(floor - options.guard, floor) == 0);
  const void* const guard = reinterpret_cast<const void*>(floor - options.guard);
  CHECK(mapped_bytes(guard, stack.floor()) == options.guard);
  for (const Mapping& mapping : mappings_in(guard, stack.floor())) {
    CHECK((!Of::traits.guard_is_mapped_apart || mapping.protection == "---p"));
  }
}

STRATEGIES_WHERE(!traits.guarded, "a stack without a guard is not found by its addresses") {
  const Stack stack(options_for(Of::traits));
  CHECK(!growstack::stack_bounds(stack.floor()));
}

// ---- how it grows -------------------------------------------------------------------------------

EVERY_STRATEGY("a stack grows to its full depth and keeps what is written there") {
  Stack stack(options_for(Of::traits));
  const std::size_t wrong =
      call(stack, [&] { return descend_to(address_of(stack.floor()), 16 * KiB); });
  CHECK(wrong == 0);
  CHECK(stack.resident() > stack.reserved() - 32 * KiB);
  CHECK(stack.committed() > stack.reserved() - 32 * KiB);
  CHECK(stack.high_water_mark() > stack.reserved() - 32 * KiB);
}

STRATEGIES_WHERE(
    traits.limit_moves,
    "a touch of the first byte below the limit grows the stack by as much as the policy says") {
  const std::size_t page = page_size();
  StackOptions options = options_for(Of::traits);
  options.policy = {
      .initial_commit = page, .factor = 1.0, .least_step = 1, .largest_step = 1, .headroom = 0};
  Stack stack(options);
  std::size_t not_by_one_page = 0;
  call(stack, [&] {
    for (int time = 0; time < 16; ++time) {
      const std::uintptr_t limit = address_of(stack.limit());
      touch_in_one_jump(limit - 1);
      not_by_one_page += address_of(stack.limit()) == limit - page ? 0 : 1;
    }
  });
  CHECK(not_by_one_page == 0);
}

EVERY_STRATEGY("a stack grows page by page") {
  const std::size_t page = page_size();
  Stack stack(options_for(Of::traits));
  call(stack, [&] {
    for (std::uintptr_t at = address_of(stack.base()) - 4 * page; at >= address_of(stack.floor());
         at -= page) {
      touch_in_one_jump(at);
    }
  });
  CHECK(stack.resident() > stack.reserved() - 4 * page);
  CHECK(stack.committed() == stack.reserved());
}

EVERY_STRATEGY("a frame of 1 MiB that is touched first at its far end makes the stack grow once") {
  Stack stack(options_for(Of::traits));
  const std::uint32_t before = stack.counters().growth_faults;
  call(stack, [&] { touch_in_one_jump(GROWSTACK_HERE - MiB); });
  CHECK(stack.counters().growth_faults - before == (Of::traits.growth_events ? 1 : 0));
  CHECK(stack.committed() >= MiB);
  CHECK(stack.high_water_mark() >= MiB);
  CHECK((!Of::traits.starts_empty || Of::traits.by_userfaultfd || stack.resident() < 64 * KiB));
}

EVERY_STRATEGY("every byte of a frame of 1 MiB holds what is written there") {
  Stack stack(options_for(Of::traits));
  const std::size_t wrong = call(stack, [] {
    return fill_in_one_jump(GROWSTACK_HERE - MiB - 4 * KiB, GROWSTACK_HERE - 4 * KiB);
  });
  CHECK(wrong == 0);
  CHECK(stack.resident() >= MiB);
}

EVERY_STRATEGY("growth is contiguous: everything from the limit to the base can be read") {
  Stack stack(options_for(Of::traits));
  call(stack, [&] {
    touch_in_one_jump(GROWSTACK_HERE - 100 * KiB);
    touch_in_one_jump(GROWSTACK_HERE - 3 * MiB);
  });
  CHECK(read_every_page(stack.limit(), stack.base()) == stack.committed() / page_size());
  CHECK(mapped_bytes(stack.limit(), stack.base()) == stack.committed());
  for (const Mapping& mapping : mappings_in(stack.limit(), stack.base())) {
    CHECK(mapping.protection == "rw-p");
  }
}

EVERY_STRATEGY("the last byte above the floor is usable") {
  Stack stack(options_for(Of::traits));
  unsigned char found = 0;
  call(stack, [&] {
    const std::uintptr_t floor = address_of(stack.floor());
    touch_in_one_jump(floor, 42);
    found = *reinterpret_cast<const volatile unsigned char*>(floor);
  });
  CHECK(found == 42);
  if (!Of::traits.growth_events || Of::traits.grows_by_events_only()) {
    CHECK(stack.limit() == stack.floor());
  }
}

STRATEGIES_WHERE(
    traits.by_userfaultfd,
    "committed memory that the program gave back to the kernel is filled again, with zeros") {
  Stack stack({.reserve = 8 * MiB, .strategy = Of::strategy});
  const std::size_t wrong = call(stack, [&] {
    descend(MiB);
    char* const given_back = static_cast<char*>(stack.base()) - MiB;
    given_back[0] = 42;
    std::size_t bad = madvise(given_back, 512 * KiB, MADV_DONTNEED) == 0 ? 0 : 1;
    for (std::size_t at = 0; at < 512 * KiB; at += page_size()) {
      volatile char* const touched = given_back + at;
      bad += *touched == 0 ? 0 : 1;
      *touched = 1;
    }
    return bad + descend(2 * MiB);
  });
  CHECK(wrong == 0);
}

EVERY_STRATEGY(
    "committed memory stays below 64 KiB and four times the depth, "
    "and resident memory below 64 KiB and twice the depth") {
  for (const std::size_t depth : {16 * KiB, 64 * KiB, 200 * KiB, MiB, 2 * MiB}) {
    Stack stack(options_for(Of::traits));
    call(stack, [&] { descend(depth); });
    CHECK(stack.high_water_mark() >= depth);
    const std::size_t reached = depth + 8 * KiB;  // headroom included
    if (Of::traits.limit_moves &&
        64 * KiB + Of::traits.factor() * reached < Of::traits.grown_by_events) {
      CHECK(stack.committed() <= 64 * KiB + Of::traits.factor() * reached);
    }
    if (Of::traits.starts_empty && !Of::traits.huge_pages) {
      CHECK(stack.resident() <= 64 * KiB + 2 * reached);
    }
    CHECK(stack.resident() >= depth);
    CHECK(stack.resident() <= stack.committed());
    if (Of::traits.starts_empty && !Of::traits.by_userfaultfd) {
      CHECK(stack.resident() <=
            depth + 24 * KiB +
                (Of::traits.huge_pages || Of::traits.grows_by == SIGSEGV ? huge_page : 0));
    }
  }
}

EVERY_STRATEGY("counters tell what happened to this stack") {
  Stack stack(options_for(Of::traits));
  call(stack, [] { descend(2 * MiB); });
  const growstack::StackCounters counters = stack.counters();
  CHECK((counters.growth_faults > 0) == Of::traits.growth_events);
  CHECK(counters.growth_faults <= 8);  // each at least doubles 64 KiB, until 2 MiB fit
  CHECK(counters.remote_growth_faults == 0);
  CHECK(counters.reserved == stack.reserved());
  CHECK(counters.committed == stack.committed());
  CHECK(counters.high_water == stack.high_water_mark());
}

// ---- what it gives back -------------------------------------------------------------------------

STRATEGIES_WHERE(traits.trims,
                 "an idle stack gives everything back and grows again, any number of times") {
  const StackOptions options = options_for(Of::traits);
  Stack stack(options);
  for (int round = 0; round < 3; ++round) {
    CAPTURE(round);
    CHECK(call(stack, [] { return descend(3 * MiB); }) == 0);
    CHECK(stack.resident() >= 3 * MiB);
    CHECK(stack.trim() == std::error_code());
    CHECK(stack.resident() == 0);
    CHECK(stack.committed() == committed_at_first(Of::traits, stack));
    if (Of::traits.limit_moves) {
      CHECK(stack.high_water_mark() >= 3 * MiB);
    }
  }
}

STRATEGIES_WHERE(traits.trims, "a stack that was never used can be trimmed") {
  const StackOptions options = options_for(Of::traits);
  Stack stack(options);
  CHECK(stack.trim() == std::error_code());
  CHECK(stack.trim() == std::error_code());
  CHECK(stack.committed() == committed_at_first(Of::traits, stack));
  CHECK(stack.resident() == 0);
}

STRATEGIES_WHERE(traits.trims, "a stack that runs refuses to be trimmed like an idle one") {
  Stack stack(options_for(Of::traits));
  CHECK(call(stack, [&] { return stack.trim(); }) == std::errc::device_or_resource_busy);
  CHECK(stack.trim() == std::error_code());
}

STRATEGIES_WHERE(
    traits.trims,
    "a suspended stack keeps what lives above its stack pointer and gives back the rest") {
#ifdef GROWSTACK_TESTED_UNDER_TSAN
  return skip(
      "ThreadSanitizer must be told of every switch of stacks, and a bare fiber does not tell");
#endif
  Stack stack(options_for(Of::traits));
  SuspendedFiber<300 * KiB> fiber(stack, 4 * MiB);
  for (int round = 0; round < 2; ++round) {
    CAPTURE(round);
    fiber.resume();
    const std::size_t live = address_of(stack.base()) - fiber.stack_pointer();
    CHECK(stack.resident() >= 4 * MiB);
    CHECK(stack.trim_below(reinterpret_cast<const void*>(fiber.stack_pointer())) ==
          std::error_code());
    CHECK(stack.resident() >= 300 * KiB);
    CHECK(stack.resident() <= live + 16 * KiB);
    if (Of::traits.limit_moves) {
      CHECK(stack.committed() <= live + 16 * KiB);
    }
  }
  fiber.resume();
  CHECK(fiber.wrong() == 0);
}

STRATEGIES_WHERE(traits.trims,
                 "a pointer that does not point into the stack is refused as its stack pointer") {
  Stack stack(options_for(Of::traits));
  const int elsewhere = 0;
  CHECK(stack.trim_below(&elsewhere) == std::errc::invalid_argument);
  CHECK(stack.trim_below(static_cast<const char*>(stack.floor()) - 1) ==
        std::errc::invalid_argument);
  CHECK(stack.trim_below(static_cast<const char*>(stack.base()) + 1) ==
        std::errc::invalid_argument);
  CHECK(stack.trim_below(stack.base()) == std::error_code());
  CHECK(stack.trim_below(stack.floor()) == std::error_code());
}

STRATEGIES_WHERE(traits.trims, "the running stack gives back a deep excursion and goes on") {
  Stack stack(options_for(Of::traits));
  std::size_t wrong = 0;
  std::size_t least_deep = SIZE_MAX;
  std::size_t most_left = 0;
  std::error_code error;
  call(stack, [&] {
    for (int round = 0; round < 3 && !error; ++round) {
      wrong += descend(3 * MiB);
      least_deep = std::min(least_deep, stack.resident());
      error = Stack::trim_current();
      most_left = std::max(most_left, stack.resident());
    }
  });
  CHECK(error == std::error_code());
  CHECK(wrong == 0);
  CHECK(least_deep >= 3 * MiB);
  CHECK(most_left <= 96 * KiB);
}

STRATEGIES_WHERE(traits.trims,
                 "a running stack that swings within a factor of two is not trimmed each time") {
  Stack stack(options_for(Of::traits));
  std::size_t wrong = 0;
  std::uint32_t faults_of_later_rounds = 0;
  std::size_t least_left = SIZE_MAX;
  call(stack, [&] {
    at_stack_pointer(reinterpret_cast<std::uintptr_t>(stack.base()) - MiB, [&] {
      for (int round = 0; round < 10; ++round) {
        const std::uint32_t before = stack.counters().growth_faults;
        wrong += descend(MiB - 64 * KiB);
        wrong += Stack::trim_current() ? 1 : 0;
        faults_of_later_rounds += round == 0 ? 0 : stack.counters().growth_faults - before;
        least_left = std::min(least_left, stack.resident());
      }
    });
  });
  CHECK(wrong == 0);
  CHECK(faults_of_later_rounds == 0);
  CHECK(least_left >= MiB - 64 * KiB);  // nothing touched the first MiB
}

STRATEGIES_WHERE(traits.trims,
                 "a running stack that trims itself for nothing "
                 "still notices when there is something to give back") {
  Stack stack(options_for(Of::traits));
  std::size_t wrong = 0;
  std::size_t most_left = 0;
  call(stack, [&] {
    const std::uintptr_t deep = reinterpret_cast<std::uintptr_t>(stack.floor()) + 64 * KiB;
    for (int round = 0; round < 5; ++round) {
      for (int times = 0; times < 3; ++times) {
        wrong += Stack::trim_current() ? 1 : 0;
      }
      touch_in_one_jump(deep);  // guard_markers does not see this
      wrong += Stack::trim_current() ? 1 : 0;
      most_left = std::max(most_left, stack.resident());
    }
  });
  CHECK(wrong == 0);
  CHECK(most_left <= 96 * KiB);
}

STRATEGIES_WHERE(!traits.trims,
                 "a stack that gives nothing back says that this is not supported, and goes on") {
  Stack stack(options_for(Of::traits));
  CHECK(call(stack, [] { return descend(MiB); }) == 0);
  CHECK(stack.trim() == std::errc::not_supported);
  CHECK(call(stack, [] { return descend(2 * MiB); }) == 0);
}

STRATEGIES_WHERE(traits.own_address_space,
                 "a released stack leaves no mapping behind after growstack::trim()") {
  for (int round = 0; round < 2; ++round) {
    const StackOptions options = options_for(Of::traits);
    auto stack = std::make_unique<Stack>(options);
    call(*stack, [] { descend(3 * MiB); });
    const void* const guard = static_cast<const char*>(stack->floor()) - options.guard;
    const void* const base = stack->base();
    CHECK(mapped_bytes(guard, base) > 0);
    stack.reset();
    growstack::trim();
    CHECK(mapped_bytes(guard, base) == 0);
  }
}

STRATEGIES_WHERE(traits.own_address_space,
                 "a stack released beside a neighbour leaves nothing "
                 "charged or resident, and the next one starts empty") {
  const StackOptions options = options_for(Of::traits);
  Stack neighbour(options);
  call(neighbour, [] { descend(MiB); });
  const std::size_t resident = neighbour.resident();
  auto stack = std::make_unique<Stack>(options);
  call(*stack, [] { descend(3 * MiB); });
  const void* const floor = stack->floor();
  const void* const base = stack->base();
  stack.reset();
  CHECK(charged_bytes(floor, base) == 0);
  CHECK(resident_pages(floor, base) == 0);
  CHECK(neighbour.resident() == resident);

  const Stack next(options);
  CHECK((!Of::traits.starts_empty || next.resident() == 0));
  CHECK(next.committed() == committed_at_first(Of::traits, next));
  CHECK(next.counters().growth_faults == 0);
}

// ---- how it ends --------------------------------------------------------------------------------

namespace {

enum class End { recursion, last_byte, one_byte_beyond };

/// What a child does to its stack before it dies or exits.
template <End end>
int go_to_the_end(const Traits& of) {
  Stack stack(options_for(of));
  call(stack, [&] {
    const std::uintptr_t floor = address_of(stack.floor());
    switch (end) {
      case End::recursion:
        descend_to(0);
        break;
      case End::last_byte:
        touch_in_one_jump(floor);
        break;
      case End::one_byte_beyond:
        touch_in_one_jump(floor - 1);
        break;
    }
  });
  return 0;
}

const ScenarioOfEach<go_to_the_end<End::recursion>> recursions("recursion");
const ScenarioOfEach<go_to_the_end<End::last_byte>> last_bytes("last byte");
const ScenarioOfEach<go_to_the_end<End::one_byte_beyond>> one_byte_beyonds("one byte beyond");

std::string quoted_name(const Traits& of) { return '"' + options_for(of).name + '"'; }

}  // namespace

STRATEGIES_WHERE(traits.guarded,
                 "an endless recursion is reported as the overflow of that stack, "
                 "and the process dies of its signal") {
  const Ended ended = run_scenario_of("recursion", Of::traits);
  CHECK(ended.signal == signal_of_overflow(Of::strategy));
  CHECK(contains(ended.err, "stack overflow"));
  CHECK(contains(ended.err, quoted_name(Of::traits)));
  CHECK(contains(ended.err, "descend_to"));
}

EVERY_STRATEGY("a touch of the last byte above the floor is no overflow") {
  const Ended last = run_scenario_of("last byte", Of::traits);
  CHECK(last.exit_code == 0);
  CHECK(last.err == "");
}

STRATEGIES_WHERE(traits.guarded, "overflow begins with the first byte below the floor") {
  const Ended beyond = run_scenario_of("one byte beyond", Of::traits);
  CHECK(beyond.signal == signal_of_overflow(Of::strategy));
  CHECK(contains(beyond.err, "stack overflow"));
  CHECK(contains(beyond.err, quoted_name(Of::traits)));
}

// ---- standard streams that are closed -----------------------------------------------------------

namespace {

bool standard_streams_are_closed() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(stream, F_GETFD) != -1 || errno != EBADF) {
      return false;
    }
  }
  return true;
}

int without_standard_streams(const Traits& of) {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    close(stream);
  }
  Stack stack({.reserve = MiB, .strategy = of.strategy});
  bool good = standard_streams_are_closed();
  good = call(stack, [] { return descend(512 * KiB); }) == 0 && good;
  static_cast<void>(stack.trim());
  if (of.pools) {
    growstack::StackPool pool({.reserve = MiB, .strategy = of.strategy});
    Stack pooled = pool.acquire();
    good = call(pooled, [] { return descend(512 * KiB); }) == 0 && good;
  }
  const auto child_has_none = [&] {
    return standard_streams_are_closed() && call(stack, [] { return descend(768 * KiB); }) == 0;
  };
  good = end_of_child([&] { return child_has_none() ? 7 : 1; }) == 7 && good;
  // Not by exit(): a sanitizer needs descriptors there.
  _exit(good && standard_streams_are_closed() ? 7 : 1);
}
const ScenarioOfEach<without_standard_streams> without_standard_streams_scenarios(
    "without standard streams");

}  // namespace

EVERY_STRATEGY(
    "a program that has closed its standard streams, and uses them all the same, meets no "
    "descriptor of ours there") {
  CHECK(run_scenario_of("without standard streams", Of::traits).exit_code == 7);
}
