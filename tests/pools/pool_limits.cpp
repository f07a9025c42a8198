// Pools at their own limits and at those of the process: an error that names the limit, nothing
// lost, and all is well again once there is room. A limit of a process lasts as long as the
// process, so each has a child of its own.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/stack_pool.hpp>

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/limits.hpp"
#include "support/pools.hpp"
#include "support/refusals.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <sys/syscall.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <latch>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace growstack;
using namespace growstack::testing;
using growstack::handler::page_size;

namespace {

PoolOptions hungry(Strategy strategy) {
  PoolOptions options = options_for(strategy);
  options.name = "hungry";
  return options;
}

/// Returns how many bytes are counted for a stack of such a pool as long as it stays small.
std::size_t at_least(const Traits& of) { return of.limit_moves ? warm_size : MiB; }

/// Acquires until there are `most` stacks. Returns the message of the error that came before that.
std::string acquire_until_refused(StackPool& pool, std::vector<Stack>& stacks,
                                  std::size_t most = SIZE_MAX) {
  return error_of([&] {
    while (stacks.size() < most) {
      stacks.push_back(pool.acquire());
    }
  });
}

int error_number_of(StackPool& pool) {
  try {
    const Stack stack = pool.acquire();
    return 0;
  } catch (const std::system_error& error) {
    return error.code().value();
  }
}

std::size_t committed_of(const std::vector<Stack>& stacks) {
  std::size_t bytes = 0;
  for (const Stack& stack : stacks) {
    bytes += stack.committed();
  }
  return bytes;
}

bool works(StackPool& pool, std::size_t depth = 500 * KiB) {
  Stack stack = pool.acquire();
  return call(stack, [depth] { return descend(depth); }) == 0;
}

}  // namespace

// ---- a number of stacks -------------------------------------------------------------------------

EVERY_POOL(
    "a pool makes as many stacks as it may, then says EAGAIN, and works again after one was given "
    "back") {
  PoolOptions options = hungry(Of::strategy);
  options.most_stacks = 7;
  StackPool pool(options);
  std::vector<Stack> stacks;
  const std::string refused = acquire_until_refused(pool, stacks);
  CHECK(stacks.size() == 7);
  CHECK(contains(refused, "StackPool \"hungry\": PoolOptions::most_stacks is 7"));
  CHECK(error_number_of(pool) == EAGAIN);
  for (int round = 0; round < 3; ++round) {
    stacks.pop_back();
    stacks.push_back(pool.acquire());
    CHECK(error_number_of(pool) == EAGAIN);
  }
  CHECK(pool.statistics().live == 7);
  CHECK(pool.statistics().created == 7);
  stacks.clear();
  pool.trim();
  CHECK(acquire_until_refused(pool, stacks) == refused);
  CHECK(stacks.size() == 7);
}

TEST_CASE("what a pool makes ahead of need is not more than it may have") {
  PoolOptions options = hungry(Strategy::automatic);
  options.most_stacks = 9;  // two at once from the eighth on
  StackPool pool(options);
  std::vector<Stack> stacks;
  CHECK(acquire_until_refused(pool, stacks) != "");
  CHECK(stacks.size() == 9);
  CHECK(pool.statistics().created == 9);
}

TEST_CASE("before a pool refuses, it takes what other threads keep for themselves") {
  PoolOptions options = hungry(Strategy::automatic);
  options.most_stacks = 20;
  StackPool pool(options);
  std::latch cached(1);
  std::latch done(1);
  std::thread other([&] {
    {
      std::vector<Stack> stacks;
      static_cast<void>(acquire_until_refused(pool, stacks, 20));
    }
    cached.count_down();
    done.wait();
    static_cast<void>(pool.acquire());
  });
  cached.wait();
  std::vector<Stack> stacks;
  CHECK(acquire_until_refused(pool, stacks, 20) == "");
  CHECK(stacks.size() == 20);
  CHECK(error_number_of(pool) == EAGAIN);
  stacks.clear();
  done.count_down();
  other.join();
  CHECK(pool.statistics().created == 20);
}

// ---- budgets ------------------------------------------------------------------------------------

EVERY_POOL(
    "a pool whose budget is used up says ENOMEM and names the budget, until something was given "
    "back") {
  PoolOptions options = hungry(Of::strategy);
  options.budget = 5 * at_least(Of::traits);
  StackPool pool(options);
  std::vector<Stack> stacks;
  const std::string refused = acquire_until_refused(pool, stacks);
  CAPTURE(refused);
  CHECK(stacks.size() == 5);
  CHECK(contains(refused, "the budget is used up: PoolOptions::budget is"));
  CHECK(contains(refused, "raise it, release stacks, or trim them"));
  CHECK(error_number_of(pool) == ENOMEM);
  CHECK(pool.statistics().committed == options.budget);
  CHECK(stacks_of(pool.statistics()) == 5);
  stacks.pop_back();
  stacks.push_back(pool.acquire());
  CHECK(error_number_of(pool) == ENOMEM);
  stacks.clear();
  pool.trim();
  CHECK(pool.statistics().committed == 0);
  static_cast<void>(acquire_until_refused(pool, stacks));
  CHECK(stacks.size() == 5);
  Probe probe;
  for (const Stack& stack : stacks) {
    CHECK(probe.guarded(stack));
  }
}

EVERY_POOL("a pool that has no budget for a single stack is not made") {
  PoolOptions options = hungry(Of::strategy);
  options.budget = at_least(Of::traits) - 1;
  CHECK(contains(error_of([&] { const StackPool pool(options); }), "PoolOptions::budget"));
  CHECK(process_counters().arenas == 0);
  CHECK(process_counters().committed == 0);
}

POOLS_WHERE(
    !traits.locks_memory,
    "no stack is made beyond a budget, however much stacks commit at once, and one by one or "
    "in a row") {
  for (const std::size_t huge_from : {std::size_t{0}, 2 * MiB}) {
    for (const std::size_t initial_commit : {warm_size, 256 * KiB, 4 * MiB, 5 * MiB + 4 * KiB}) {
      CAPTURE(huge_from);
      CAPTURE(initial_commit);
      PoolOptions options = hungry(Of::strategy);
      options.reserve = 8 * MiB;
      options.policy.initial_commit = initial_commit;
      options.policy.huge_from = huge_from;
      const std::size_t of_one = StackPool(options).acquire().committed();
      for (const std::size_t half_stacks : {21U, 25U, 33U, 40U, 99U}) {
        CAPTURE(half_stacks);
        options.budget = half_stacks * (of_one / 2);
        StackPool pool(options);
        std::vector<Stack> stacks;
        CHECK(contains(acquire_until_refused(pool, stacks), "PoolOptions::budget"));
        CHECK(stacks.size() == half_stacks / 2);
        CHECK(committed_of(stacks) == stacks.size() * of_one);
        CHECK(pool.statistics().committed == committed_of(stacks));
        stacks.clear();
        pool.trim();
        CHECK(pool.statistics().committed == 0);
      }
    }
  }
}

POOLS_WHERE(traits.grows_by != 0, "a budget is used to its last page, and a trim gives it back") {
  PoolOptions options = hungry(Of::strategy);
  constexpr std::size_t pages = 21;
  options.budget = 2 * warm_size + pages * page_size();
  StackPool pool(options);
  Stack stack = pool.acquire();
  const Stack idle = pool.acquire();
  for (int round = 0; round < 2; ++round) {
    CAPTURE(round);
    auto* const warm = static_cast<volatile unsigned char*>(stack.base()) - warm_size;
    for (std::size_t page = 1; page <= pages; ++page) {
      *(warm - page * page_size()) = 1;
    }
    CHECK(stack.committed() == warm_size + pages * page_size());
    CHECK(pool.statistics().committed == options.budget);
    CHECK(error_number_of(pool) == ENOMEM);
    CHECK(!stack.trim());
    CHECK(pool.statistics().committed == 2 * warm_size);
  }
  static_cast<void>(pool.acquire());
}

namespace {

int beyond_the_budget(const Traits& of, bool of_the_process) {
  no_core();
  PoolOptions options = hungry(of.strategy);
  if (!of_the_process) {
    options.budget = 10 * warm_size + 100 * KiB;
  }
  StackPool pool(options);
  std::vector<Stack> stacks;
  static_cast<void>(acquire_until_refused(pool, stacks, 10));
  if (of_the_process) {
    set_process_budget(process_counters().committed + 100 * KiB);
  }
  Stack& stack = stacks[5];
  require(call(stack, [] { return descend(80 * KiB); }) == 0, "within the budget it grows");
  std::fprintf(stderr, "so far it went well\n");
  call(stack, [] { descend(500 * KiB); });
  return 0;
}
int beyond_the_budget_of_a_pool(const Traits& of) { return beyond_the_budget(of, false); }
int beyond_the_budget_of_the_process(const Traits& of) { return beyond_the_budget(of, true); }
const ScenarioOfEach<beyond_the_budget_of_a_pool> beyond_pool("beyond the budget of a pool");
const ScenarioOfEach<beyond_the_budget_of_the_process> beyond_process(
    "beyond the budget of the process");

}  // namespace

POOLS_WHERE(traits.grows_by != 0,
            "growth beyond a budget is an overflow of that stack, reported with its cause") {
  for (const char* const what :
       {"beyond the budget of a pool", "beyond the budget of the process"}) {
    CAPTURE(std::string(what));
    const Ended ended = run_scenario_of(what, Of::traits);
    CAPTURE(ended.err);
    CHECK(ended.signal == Of::traits.grows_by);
    CHECK(contains(ended.err, "so far it went well"));
    CHECK(
        contains(ended.err,
                 "a stack could not grow (the budget of its pool or of the process is used up: "));
    CHECK(matches(ended.err, "[0-9]+ bytes asked for at once, [0-9]+ bytes left"));
    CHECK(contains(ended.err, "stack \"hungry\""));
  }
}

TEST_CASE("growth beyond a budget is an overflow, also where a monitor thread serves the faults") {
  if (const Support here = supported(Strategy::userfault); !here) {
    return skip(here.reason);
  }
  const Ended ended = run_scenario_of("beyond the budget of a pool", traits_of_userfault);
  CAPTURE(ended.err);
  CHECK(ended.signal != 0);
  CHECK(contains(ended.err, "so far it went well"));
  CHECK(contains(ended.err, "a stack could not grow"));
  CHECK(contains(ended.err, "stack \"hungry\""));
}

POOLS_WHERE(traits.limit_moves,
            "a pool counts as committed exactly what its stacks have committed, whatever they do") {
  PoolOptions options = hungry(Of::strategy);
  options.warm_size = WarmSize::fixed;  // so that idle stacks can be counted, too
  options.reserve = 8 * MiB;
  StackPool pool(options);
  std::mt19937 random(1);
  std::vector<Stack> stacks;
  std::size_t wrong = 0;
  for (int step = 0; step < 500; ++step) {
    const std::size_t which = stacks.empty() ? 0 : random() % stacks.size();
    switch (random() % 6) {
      case 0:
      case 1:
        stacks.push_back(pool.acquire());
        break;
      case 2:
        if (!stacks.empty()) {
          const std::size_t depth = random() % (step % 8 == 0 ? 6 * MiB : 100 * KiB);
          wrong += call(stacks[which], [depth] { return descend(depth); });
        }
        break;
      case 3:
        if (!stacks.empty()) {
          wrong += stacks[which].trim() ? 1 : 0;
        }
        break;
      case 4:
        if (!stacks.empty()) {
          wrong += call(stacks[which], [] {
            const std::size_t changed = descend(200 * KiB);
            return changed + (Stack::trim_current() ? 1 : 0);
          });
        }
        break;
      default:
        if (!stacks.empty()) {
          stacks.erase(stacks.begin() + static_cast<std::ptrdiff_t>(which));
        }
        if (step % 50 == 0) {
          pool.trim();
        }
    }
    const PoolStatistics figures = pool.statistics();
    wrong += figures.live == stacks.size() ? 0 : 1;
    wrong += figures.committed == committed_of(stacks) + (figures.cached + figures.cold) * warm_size
                 ? 0
                 : 1;
    wrong += figures.committed == process_counters().committed ? 0 : 1;
  }
  CHECK(wrong == 0);
  stacks.clear();
  pool.trim();
  CHECK(pool.statistics().committed == 0);
}

// ---- limits of the process ----------------------------------------------------------------------

namespace {

int data_segment(const Traits& of) {
  PoolOptions options = hungry(of.strategy);
  options.policy.initial_commit = 256 * KiB;
  StackPool pool(options);
  std::vector<Stack> stacks;
  stacks.reserve(1000);
  stacks.push_back(pool.acquire());
  require(set_soft_limit(RLIMIT_DATA, status_bytes("VmData") + 10 * MiB), "a limit can be set");
  const std::string refused = acquire_until_refused(pool, stacks, 1000);
  require(contains(refused, "RLIMIT_DATA is reached"), "the error names the limit: " + refused);
  require(contains(refused, "ulimit -d"), "the error tells the cure: " + refused);
  require(stacks.size() >= 20 && stacks.size() <= 41, "many fit: " + std::to_string(stacks.size()));
  const std::size_t fitted = stacks.size();
  for (int round = 0; round < 8; ++round) {
    stacks.clear();
    static_cast<void>(acquire_until_refused(pool, stacks, 1000));
    // One more or less is room that a thread of the library took meanwhile for its start. A leak
    // would add up.
    require(stacks.size() + 1 >= fitted && stacks.size() <= fitted + 1,
            std::to_string(fitted) + " again: " + std::to_string(stacks.size()));
    stacks.clear();
    pool.trim();
    static_cast<void>(acquire_until_refused(pool, stacks, fitted - 8));
    require(stacks.size() == fitted - 8, "and after a trim: " + std::to_string(stacks.size()));
    require(call(stacks.back(), [] { return descend(MiB - 100 * KiB); }) == 0,
            "stacks can grow into what is left");
  }
  require(pool.statistics().committed == committed_of(stacks), "the account is right");
  return 0;
}
const ScenarioOfEach<data_segment> data_segment_scenarios("data segment");

int address_space(const Traits& of) {
  PoolOptions options = hungry(of.strategy);
  options.reserve = 4 * MiB;
  options.guard = 60 * MiB;
  std::optional<StackPool> pool(options);
  static_cast<void>(works(*pool));
  pool.reset();
  require(set_soft_limit(RLIMIT_AS, status_bytes("VmSize") + 600 * MiB), "a limit can be set");
  pool.emplace(options);
  std::vector<Stack> stacks;
  stacks.reserve(100);
  const std::string refused = acquire_until_refused(*pool, stacks, 100);
  require(stacks.size() >= 4 && stacks.size() < 12, "some fit: " + std::to_string(stacks.size()));
  require(contains(refused, "RLIMIT_AS is reached"), "the error names the limit: " + refused);
  require(contains(refused, "ulimit -v"), "the error tells the cure: " + refused);
  require(call(stacks.back(), [] { return descend(2 * MiB); }) == 0, "stacks that are there go on");
  stacks.pop_back();
  stacks.push_back(pool->acquire());
  const std::size_t fitted = stacks.size();
  stacks.clear();
  pool->trim();
  static_cast<void>(acquire_until_refused(*pool, stacks, 100));
  require(stacks.size() + 2 >= fitted, "about as many again: " + std::to_string(stacks.size()));
  return 0;
}
const ScenarioOfEach<address_space> address_space_scenarios("address space");

int mappings(const Traits& of) {
  StackPool pool(hungry(of.strategy));
  static_cast<void>(works(pool));
  const std::size_t most = number_in("/proc/sys/vm/max_map_count");
  const std::size_t before = mapping_count();
  std::vector<Stack> stacks;
  stacks.reserve(most);
  const std::string refused = acquire_until_refused(pool, stacks);
  require(contains(refused, "vm.max_map_count is reached"),
          "the error names the limit: " + refused);
  require(contains(refused, "sysctl vm.max_map_count"), "the error tells the cure: " + refused);
  require(stacks.size() >= (most - before) / 2 - 64 && stacks.size() <= most / 2,
          "two mappings each: " + std::to_string(stacks.size()));
  std::fprintf(stdout, "%zu stacks, %zu mappings\n", stacks.size(), mapping_count());
  for (std::size_t index = 0; index < stacks.size(); index += 1000) {
    require(call(stacks[index], [] { return descend(500 * KiB); }) == 0,
            "stacks that are there grow");
  }
  stacks.pop_back();
  stacks.push_back(pool.acquire());
  const std::size_t fitted = stacks.size();
  stacks.clear();
  require(works(pool), "another one works");
  pool.trim();
  require(mapping_count() <= before,
          "no mapping is left: " + std::to_string(mapping_count() - before));
  require(pool.statistics().committed == 0, "nothing is committed");
  require(works(pool), "and it works again");
  static_cast<void>(acquire_until_refused(pool, stacks, fitted - 16));
  require(stacks.size() == fitted - 16, "as many again: " + std::to_string(stacks.size()));
  return 0;
}
const ScenarioOfEach<mappings> mappings_scenarios("mappings");

}  // namespace

POOLS_WHERE(traits.charged,
            "at RLIMIT_DATA a pool refuses with the limit and the cure, and what was given back "
            "can be had again") {
  if (sanitized) {
    return skip("a sanitizer's own memory counts against RLIMIT_DATA");
  }
  const Ended ended = run_scenario_of("data segment", Of::traits);
  CHECK(ended.err == "");
  CHECK(ended.exit_code == 0);
}

POOLS_WHERE(traits.own_address_space,
            "at RLIMIT_AS a pool takes smaller arenas, down to one stack each, before it refuses") {
  if (sanitized) {
    return skip("a sanitizer reserves more address space than any limit allows");
  }
  const Ended ended = run_scenario_of("address space", Of::traits);
  CHECK(ended.err == "");
  CHECK(ended.exit_code == 0);
}

POOLS_WHERE(
    traits.grows_by_protection,
    "at vm.max_map_count a pool refuses with the limit and the cure, and no mapping is lost") {
  if (sanitized) {
    return skip("a sanitizer dies when it cannot map memory");
  }
  if (number_in("/proc/sys/vm/max_map_count") > 200'000) {
    return skip("vm.max_map_count is so large here that it takes too long to reach it");
  }
  const Ended ended = run_scenario_of("mappings", Of::traits);
  CHECK(ended.err == "");
  CHECK(ended.exit_code == 0);
}

// ---- system calls refused, one after the other --------------------------------------------------

namespace {

constexpr Refusal refusals[] = {
    {"mmap", SYS_mmap},
    {"munmap", SYS_munmap},
    {"mprotect", SYS_mprotect},
    {"madvise", SYS_madvise},
    {"process_madvise", SYS_process_madvise},
    {"munlock", SYS_munlock},
    {"mlock2", SYS_mlock2},
    {"ioctl", SYS_ioctl},
    {"sigaltstack", SYS_sigaltstack},
    {"pread64", SYS_pread64},
    {"openat", SYS_openat},
};

/// Acquires, gives back and trims while a system call is refused.
int refused_call(const Traits& of) {
  const std::size_t most = of.locks_memory ? 5 : 60;
  StackPool pool(hungry(of.strategy));
  require(works(pool), "it works without the refusal");
  Probe probe;
  std::string refused;
  const auto round_with_refusal = [&] {
    std::vector<Stack> grown;
    static_cast<void>(acquire_until_refused(pool, grown, 3));
    for (Stack& stack : grown) {
      require(call(stack, [] { return descend(300 * KiB); }) == 0, "stacks of before grow");
    }
    std::vector<Stack> made;
    made.reserve(most);
    with_refusal([&] {
      if (const std::string message = acquire_until_refused(pool, made, most); !message.empty()) {
        refused = message;
      }
      for (const Stack& stack : made) {
        require(probe.guarded(stack), "what was made has a guard");
        warm_byte(stack) = 1;
      }
      grown.clear();
      made.resize(made.size() / 2);
      pool.trim();
      static_cast<void>(acquire_until_refused(pool, made, most));
      for (const Stack& stack : made) {
        require(probe.guarded(stack), "also after a trim");
      }
    });
    for (Stack& stack : made) {
      require(probe.guarded(stack), "and when that is over");
      require(call(stack, [] { return descend(300 * KiB); }) == 0, "and it grows");
      require(probe.guarded(stack), "and has a guard still");
    }
    made.clear();
    require(works(pool), "the pool works without the refusal");
    require(pool.statistics().live == 0, "no stack is lost");
    pool.trim();
    require(stacks_of(pool.statistics()) == 0, "a trim gives all back");
    require(pool.statistics().committed == 0, "and credits it");
    require(process_counters().arenas == 0, "no arena is left");
  };
  round_with_refusal();
  const std::size_t mappings = mapping_count();
  const std::size_t address_space = status_bytes("VmSize");
  for (int round = 0; round < 3; ++round) {
    round_with_refusal();
  }
  if (refused_system_call() != SYS_munmap) {  // nothing can make good for that
    require(mapping_count() <= mappings,
            "no mapping is left: " + std::to_string(mapping_count() - mappings));
    require(status_bytes("VmSize") <= address_space + MiB, "no address space is left");
  }
  std::fprintf(stderr, "%s\n", refused.c_str());
  return refused.empty() ? 0 : 1;
}
const ScenarioOfEach<refused_call> refused_call_scenarios("refused call");

}  // namespace

EVERY_POOL(
    "whichever system call of a pool is refused, the pool stays usable, loses nothing, and has no "
    "stack without a guard") {
  if (sanitized) {
    return skip("a sanitizer dies when its own system calls are refused");
  }
  refuse_each(refusals, "refused call", Of::traits);
}
