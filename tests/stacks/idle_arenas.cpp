// What is kept when the last stack of its kind ends: address space for about a second, and nothing
// else.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/ranges.hpp>

#include "memory/account.hpp"

#include "support/address_of.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/limits.hpp"
#include "support/old_kernel.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <sys/mman.h>

#include <chrono>
#include <thread>
#include <vector>

using namespace growstack::testing;
using growstack::call;
using growstack::process_counters;
using growstack::Stack;
using growstack::StackOptions;
using growstack::StackPool;
using growstack::Strategy;
namespace handler = growstack::handler;

namespace {

StackOptions options_for(Strategy strategy, std::size_t reserve = 4 * MiB) {
  return {.reserve = reserve, .strategy = strategy};
}

/// Where a stack was, from its guard to its base.
struct Place {
  const char* guard = nullptr;
  const char* base = nullptr;

  [[nodiscard]] std::size_t mapped() const { return mapped_bytes(guard, base); }
  bool operator==(const Place&) const = default;
};

/// Makes a stack, runs something at a depth, and ends the stack.
Place make_and_end(const StackOptions& options, std::size_t depth = MiB) {
  Stack stack(options);
  require(call(stack, [depth] { return descend(depth); }) == 0, "the stack works");
  return {.guard = static_cast<const char*>(stack.floor()) - options.guard,
          .base = static_cast<const char*>(stack.base())};
}

std::size_t resident_bytes(const Place& place) {
  std::size_t bytes = 0;
  for (const Mapping& mapping : mappings_in(place.guard, place.base)) {
    bytes += mapping.resident;
  }
  return bytes;
}

constexpr bool keeps_arenas(const Traits& of) {
  return of.own_address_space && (!of.limit_moves || of.growth_events);  // not grows_down, heap
}

}  // namespace

STRATEGIES_WHERE(keeps_arenas(traits),
                 "a stack is made where the last one of its kind ended, is empty, and grows") {
  const Place first = make_and_end(options_for(Of::strategy), 3 * MiB);
  for (int round = 0; round < 5; ++round) {
    CAPTURE(round);
    Stack stack(options_for(Of::strategy));
    CHECK(static_cast<const char*>(stack.base()) == first.base);
    if (Of::traits.starts_empty && !sanitized) {
      CHECK(stack.resident() == 0);
    }
    CHECK(stack.counters().growth_faults == 0);
    bool was_zero = true;
    call(stack, [&] {
      const auto bottom = address_of(stack.base()) - 64 * KiB;
      for (auto at = bottom; at < bottom + 32 * KiB; at += 8) {
        was_zero = was_zero && *reinterpret_cast<const volatile std::uint64_t*>(at) == 0;
      }
    });
    CHECK((was_zero || sanitized));
    CHECK(call(stack, [round] { return descend((round % 2 == 0 ? 3 : 0) * MiB + 16 * KiB); }) == 0);
  }
}

STRATEGIES_WHERE(keeps_arenas(traits),
                 "what is kept of a stack is neither resident nor charged nor counted, and goes at "
                 "growstack::trim()") {
  if (sanitized) {
    return skip("a sanitizer's shadow memory is charged with the stacks and stays");
  }
  growstack::trim();
  const std::size_t charged = charged_bytes();
  const std::size_t locked = status_bytes("VmLck");
  for (int round = 0; round < 3; ++round) {
    CAPTURE(round);
    const Place place = make_and_end(options_for(Of::strategy), 3 * MiB);
    CHECK(place.mapped() > 0);
    CHECK(resident_bytes(place) == 0);
    CHECK(charged_bytes() <= charged + 256 * KiB);  // the allocator may keep some
    CHECK(charged_bytes(place.guard, place.base) == 0);
    CHECK(status_bytes("VmLck") == locked);
    CHECK(growstack::process_account().used() == 0);
    const growstack::ProcessCounters counters = process_counters();
    CHECK(counters.stacks == 0);
    CHECK(counters.arenas == 0);
    CHECK(counters.reserved == 0);
    CHECK(counters.committed == 0);
    growstack::trim();
    CHECK(place.mapped() == 0);
    CHECK(handler::range_count() == 0);
  }
}

STRATEGIES_WHERE(keeps_arenas(traits),
                 "where the last stack of its kind was stays ours until growstack::trim()") {
  growstack::trim();
  make_and_end(options_for(Of::strategy));
  CHECK(handler::range_count() == 1);
  growstack::trim();
  CHECK(handler::range_count() == 0);
}

EVERY_STRATEGY("the handler can be uninstalled after the last stack has ended, and stacks work") {
  for (int round = 0; round < 3; ++round) {
    CAPTURE(round);
    make_and_end(options_for(Of::strategy));
    CHECK(handler::uninstall() == 0);
    CHECK(!handler::installed());
    CHECK(handler::range_count() == 0);
  }
  make_and_end(options_for(Of::strategy));
}

EVERY_STRATEGY("a forked child makes stacks of the kind that its parent ended last") {
  if (under_thread_sanitizer) {
    return skip("no threads in forked children");
  }
  make_and_end(options_for(Of::strategy), 3 * MiB);
  for (int round = 0; round < 2; ++round) {
    CAPTURE(round);
    CHECK(end_of_child([] {
            for (int again = 0; again < 3; ++again) {
              make_and_end(options_for(Of::strategy), 2 * MiB);
            }
            const int end_of_grandchild = end_of_child([] {
              make_and_end(options_for(Of::strategy), 2 * MiB);
              return 7;
            });
            growstack::trim();
            return end_of_grandchild == 7 && handler::range_count() == 0 ? 7 : 1;
          }) == 7);
    make_and_end(options_for(Of::strategy), 3 * MiB);
  }
}

STRATEGIES_WHERE(traits.guarded&& traits.own_address_space,
                 "a stack that a forked child makes where one of its parent ended has a guard") {
  if (sanitized) {
    return skip("no threads in forked children, and a sanitizer reports otherwise");
  }
  make_and_end(options_for(Of::strategy));
  const int end = end_of_child([] {
    no_core();
    make_and_end(options_for(Of::strategy));
    Stack stack(options_for(Of::strategy));
    call(stack, [&] { descend_to(address_of(stack.floor()) - 64 * KiB, 0); });
    return 1;
  });
  CHECK(end == killed_by(signal_of_overflow(Of::strategy)));
}

STRATEGIES_WHERE(keeps_arenas(traits) && !traits.locks_memory,
                 "what the program forbade in a stack is not forbidden in the next one") {
  for (int round = 0; round < 2; ++round) {
    {
      const Stack stack(options_for(Of::strategy));
      auto* const low_end = static_cast<char*>(stack.floor());
      REQUIRE(mprotect(low_end, 64 * KiB, PROT_NONE) == 0);
      REQUIRE(mprotect(low_end + 3 * MiB, 64 * KiB, PROT_NONE) == 0);
    }
    Stack stack(options_for(Of::strategy));
    CHECK(call(stack, [&] { return descend_to(address_of(stack.floor())); }) == 0);
  }
}

STRATEGIES_WHERE(keeps_arenas(traits), "two kinds of stacks in turn both lie where they lay") {
  const StackOptions small = options_for(Of::strategy);
  const StackOptions large = options_for(Of::strategy, 8 * MiB);
  const Place place_of_small = make_and_end(small);
  const Place place_of_large = make_and_end(large);
  for (int round = 0; round < 5; ++round) {
    CHECK(make_and_end(small, 3 * MiB) == place_of_small);
    CHECK(make_and_end(large, 3 * MiB) == place_of_large);
  }
}

STRATEGIES_WHERE(keeps_arenas(traits), "of more kinds than a few, those used last are kept") {
  constexpr std::size_t kept = 4;
  constexpr std::size_t kinds = 7;
  for (int round = 0; round < 2; ++round) {
    std::vector<Place> places;
    for (std::size_t kind = 0; kind < kinds; ++kind) {
      places.push_back(make_and_end(options_for(Of::strategy, (4 + 2 * kind) * MiB)));
    }
    CHECK(handler::range_count() == kept);
    for (std::size_t kind = kinds - kept; kind < kinds; ++kind) {
      CHECK(places[kind].mapped() > 0);
    }
  }
}

STRATEGIES_WHERE(keeps_arenas(traits), "what many stacks leave is few mappings and page tables") {
  if (sanitized) {
    return skip("a sanitizer's shadow memory is mapped piece by piece");
  }
  make_and_end(options_for(Of::strategy));
  growstack::trim();
  const std::size_t mappings_before = mapping_count();
  const std::size_t tables_before = status_bytes("VmPTE");
  {
    std::vector<Stack> stacks;
    for (int count = 0; count < 200; ++count) {
      stacks.emplace_back(options_for(Of::strategy, MiB));
    }
  }
  CHECK(handler::range_count() <= 1);
  CHECK(mapping_count() <= mappings_before + 40);
  CHECK(status_bytes("VmPTE") <= tables_before + 256 * KiB);
}

STRATEGIES_WHERE(keeps_arenas(traits), "what is kept goes after a while when stacks come and go") {
  using namespace std::chrono_literals;
  const Place place = make_and_end(options_for(Of::strategy));
  std::this_thread::sleep_for(1100ms);
  make_and_end(options_for(Of::strategy, 8 * MiB));
  CHECK(handler::range_count() == 1);
  if (make_and_end(options_for(Of::strategy, 8 * MiB)).guard > place.base) {
    CHECK(place.mapped() == 0);
  }
}

namespace {

/// Ends a stack that takes most of the address space that there may be. Then makes others.
int address_space_is_kept(const Traits& of) {
  if (of.locks_memory) {
    raise_soft_limit(RLIMIT_MEMLOCK);
  }
  const std::size_t reserve = of.locks_memory ? 4 * MiB : 512 * MiB;
  const std::size_t guard = 512 * MiB;
  const StackOptions one{.reserve = reserve, .guard = guard, .strategy = of.strategy};
  const StackOptions other{.reserve = reserve + MiB, .guard = guard, .strategy = of.strategy};
  {
    StackPool pool({.reserve = MiB});  // starts all that is needed
    const Stack stack = pool.acquire();
  }
  make_and_end(one);
  require(handler::range_count() >= 1, "it is kept");
  require(set_soft_limit(RLIMIT_AS, status_bytes("VmSize") + 256 * MiB), "a limit can be set");
  for (int round = 0; round < 3; ++round) {
    make_and_end(other);
    make_and_end(one);
  }
  growstack::PoolOptions in_pool{.reserve = reserve, .guard = guard};
  in_pool.strategy = of.strategy;
  StackPool pool(in_pool);
  Stack pooled = pool.acquire();
  require(call(pooled, [] { return descend(MiB); }) == 0, "a pool has the room");
  return 7;
}
const ScenarioOfEach<address_space_is_kept> address_space_scenario("keeps address space");

}  // namespace

STRATEGIES_WHERE(keeps_arenas(traits) && traits.pools,
                 "what is kept makes room if address space is short, for stacks and for pools") {
  if (sanitized) {
    return skip("a sanitizer's shadow memory is most of the address space");
  }
  const Ended ended = run_scenario_of("keeps address space", Of::traits);
  CHECK_MESSAGE(ended.exit_code == 7, ended.err);
}

STRATEGIES_WHERE(keeps_arenas(traits), "nothing that RLIMIT_DATA counts is kept") {
  if (sanitized) {
    return skip("a sanitizer's own memory counts against RLIMIT_DATA");
  }
  make_and_end(options_for(Of::strategy));
  growstack::trim();
  const SoftLimit limit(RLIMIT_DATA, status_bytes("VmData") + 64 * MiB);
  const std::size_t data = status_bytes("VmData");
  make_and_end(options_for(Of::strategy));
  CHECK(status_bytes("VmData") <= data + 256 * KiB);
}

EVERY_STRATEGY("a hundred thousand fresh stacks leave nothing behind") {
  const bool is_slow = sanitized || Of::traits.locks_memory || !keeps_arenas(Of::traits);
  const int count = is_slow ? 1000 : 100'000;
  const StackOptions options = options_for(Of::strategy);
  const StackOptions other = options_for(Of::strategy, 8 * MiB);
  make_and_end(options);
  { const Stack warm(other); }
  growstack::trim();
  const std::size_t mappings = mapping_count();
  const std::size_t descriptors = descriptor_count();
  const std::size_t threads = thread_count();
  const std::size_t resident = status_bytes("VmRSS");
  const std::size_t data = status_bytes("VmData");
  const std::size_t tables = status_bytes("VmPTE");
  for (int step = 0; step < count; ++step) {
    const Stack stack(step % 1000 == 0 ? other : options);
    if (step % 20'000 == 10'000) {
      growstack::trim();
    }
  }
  growstack::trim();
  CHECK(handler::range_count() == 0);
  CHECK(descriptor_count() == descriptors);
  CHECK(thread_count() == threads);
  if (!sanitized && Of::traits.own_address_space) {
    CHECK(mapping_count() <= mappings + 2);
    CHECK(status_bytes("VmRSS") <= resident + 512 * KiB);
    CHECK(status_bytes("VmData") <= data + 512 * KiB);
    CHECK(status_bytes("VmPTE") <= tables + 64 * KiB);
  }
}
