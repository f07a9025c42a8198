// Recursion that goes on on another stack when the running one has no room.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/address_of.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/foreign_stack.hpp"
#include "support/forked.hpp"
#include "support/limits.hpp"
#include "support/recursion.hpp"
#include "support/sanitized.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

using namespace growstack;
using namespace growstack::testing;

namespace {

constexpr std::size_t bytes = sanitized ? 64 * KiB : 32 * KiB;

/// ThreadSanitizer's own stack of calls has room for fewer.
constexpr std::size_t levels = under_thread_sanitizer ? 40'000 : 1'000'000;

/// What a recursion saw on its way.
struct Seen {
  std::size_t least_left = SIZE_MAX;  ///< bytes at the beginning of a call
  std::size_t switches = 0;
  std::size_t depth = 0;
};

/// The frame of a function that tells how much is left.
constexpr std::size_t one_frame = sanitized ? 2 * KiB : 512;

/// Calls itself `left` times, each time with room for `bytes`. Without options takes the usual
/// ones.
[[gnu::noinline]] void descend_safely(Seen& seen, std::size_t left, const StackOptions* options,
                                      std::uintptr_t caller) {
  volatile char room[64];
  keep(room);
  room[0] = static_cast<char>(left);
  const std::uintptr_t here = GROWSTACK_HERE;
  seen.switches += caller - here > 64 * KiB ? 1U : 0U;
  seen.least_left = std::min(seen.least_left, remaining_stack());
  if (left > 0) {
    if (options == nullptr) {
      ensure_stack(bytes, descend_safely, seen, left - 1, options, here);
    } else {
      ensure_stack(*options, bytes, descend_safely, seen, left - 1, options, here);
    }
  }
  seen.depth += room[0] == static_cast<char>(left) ? 1U : 0U;
}

Seen go(std::size_t depth, const StackOptions* options = nullptr) {
  Seen seen;
  descend_safely(seen, depth, options, GROWSTACK_HERE);
  return seen;
}

/// Checks a recursion from a small stack.
void check_deep(const Seen& seen, std::size_t depth = levels) {
  CHECK(seen.depth == depth + 1);
  CHECK(seen.least_left >= bytes - one_frame);
}

/// A stack of 256 KiB, of which a deep recursion needs many.
StackOptions small(Strategy strategy = Strategy::in_handler) {
  return {.reserve = 256 * KiB, .strategy = strategy, .name = "small"};
}

[[gnu::noinline]] int throw_from(int level) {
  if (level == 0) {
    throw std::runtime_error("from below");
  }
  const StackOptions options = small();
  try {
    const int below = ensure_stack(options, bytes, throw_from, level - 1);
    keep(&below);
    return below;
  } catch (const std::logic_error&) {
    return 0;
  }
}

/// Where f runs when the caller wants more than there is.
constexpr std::size_t more_than_there_is = 100 * MiB;

}  // namespace

// ---- from every stack ---------------------------------------------------------------------------

TEST_CASE("a thread of 128 KiB recurses a million levels deep, twice") {
  Seen seen[2];
  run_in_thread(128 * KiB, [&] {
    for (Seen& each : seen) {
      each = go(levels);
    }
  });
  check_deep(seen[0]);
  check_deep(seen[1]);
}

TEST_CASE("a thread of 128 KiB goes through many small stacks, and back, twice") {
  const StackOptions options = small();
  Seen seen[2];
  run_in_thread(128 * KiB, [&] {
    for (Seen& each : seen) {
      each = go(20'000, &options);
    }
  });
  for (const Seen& each : seen) {
    check_deep(each, 20'000);
    CHECK(each.switches >= 10);
  }
}

TEST_CASE("the main thread recurses a million levels deep") { check_deep(go(levels)); }

TEST_CASE("a call, a pooled stack and a growstack::Thread recurse a million levels deep") {
  Stack stack({.reserve = MiB});
  check_deep(call(stack, [] { return go(levels); }));
  StackPool pool({.reserve = MiB});
  Stack pooled = pool.acquire();
  check_deep(call(pooled, [] { return go(levels); }));
  Seen seen;
  Thread({.reserve = MiB}, [&] { seen = go(levels); }).join();
  check_deep(seen);
}

#ifndef GROWSTACK_TESTED_UNDER_TSAN  // which is not told of fibers

TEST_CASE("a fiber recurses a million levels deep, whether or not its stack is known") {
  const Memory memory(256 * KiB);
  Seen seen;
  run_in_fiber(memory, [&] { seen = go(levels); });
  CHECK(seen.depth == levels + 1);
  CHECK(seen.switches == 1);
  const KnownStack known(memory.begin(), memory.size());
  run_in_fiber(memory, [&] { seen = go(levels); });
  check_deep(seen);
}

TEST_CASE("a function stays on a stack that was told, and leaves one that was taken back") {
  const Memory memory(256 * KiB);
  const auto where = [] { return ensure_stack(64 * KiB, [] { return current_stack().kind; }); };
  StackKind kind{};
  for (int round = 0; round < 2; ++round) {
    {
      const KnownStack known(memory.begin(), memory.size());
      run_in_fiber(memory, [&] { kind = where(); });
      CHECK(kind == StackKind::known);
    }
    run_in_fiber(memory, [&] { kind = where(); });
    CHECK(kind == StackKind::growstack);
  }
}

#endif

STRATEGIES_WHERE(traits.own_address_space,
                 "a recursion goes from stack to stack of each strategy, twice") {
  const StackOptions options = small(Of::strategy);
  for (int round = 0; round < 2; ++round) {
    const Seen seen = call(options, [&] { return go(10'000, &options); });
    check_deep(seen, 10'000);
    CHECK(seen.switches >= 4);
  }
}

ONE_STRATEGY(Strategy::heap,
             "on the heap, where no stack is known, each step of a recursion goes to another") {
  const StackOptions options = small(Strategy::heap);
  for (int round = 0; round < 2; ++round) {
    const Seen seen = call(options, [&] { return go(100, &options); });
    CHECK(seen.depth == 101);
    CHECK(seen.switches == 100);
    CHECK(seen.least_left == 0);
  }
}

// ---- here or elsewhere --------------------------------------------------------------------------

TEST_CASE("a function runs here if there is room, and elsewhere if there is not") {
  const auto distance = [](std::uintptr_t from) {
    const std::uintptr_t here = GROWSTACK_HERE;
    return from > here ? from - here : here - from;
  };
  CHECK(ensure_stack(64 * KiB, distance, GROWSTACK_HERE) < 64 * KiB);
  CHECK(ensure_stack(more_than_there_is, distance, GROWSTACK_HERE) > 64 * KiB);
  CHECK(ensure_stack(64 * KiB, distance, GROWSTACK_HERE) < 64 * KiB);
}

TEST_CASE("more than any usual stack has can be asked for") {
  for (const std::size_t asked : {GiB, 3 * GiB}) {
    CHECK(ensure_stack(asked, [] { return remaining_stack(); }) >= asked);
  }
  const StackOptions too_small{.reserve = 64 * KiB};
  CHECK(ensure_stack(too_small, more_than_there_is, [] { return remaining_stack(); }) >=
        more_than_there_is);
}

TEST_CASE("what no address space has is refused, and the function is not called") {
  bool called = false;
  for (const std::size_t asked : {SIZE_MAX, SIZE_MAX / 2, std::size_t{1} << 60}) {
    CHECK_THROWS_AS(ensure_stack(asked, [&] { called = true; }), std::system_error);
  }
  const StackOptions wrong{.strategy = static_cast<Strategy>(200)};
  CHECK_THROWS_AS(ensure_stack(wrong, more_than_there_is, [&] { called = true; }),
                  std::system_error);
  CHECK_FALSE(called);
}

TEST_CASE("a process that may have little address space gets a smaller stack") {
  if (sanitized) {
    return skip("the shadow memory of a sanitizer takes more than the limit");
  }
  CHECK(end_of_child([] {
          std::size_t used = 0;
          for (const Mapping& mapping : mappings()) {
            used += mapping.size();
          }
          set_soft_limit(RLIMIT_AS, used + 700 * MiB);
          const Seen seen = go(levels);
          return seen.depth == levels + 1 && seen.switches >= 1 ? 7 : 1;
        }) == 7);
}

// ---- what goes in and comes out -----------------------------------------------------------------

TEST_CASE("results, references and arguments are those of the function, here and elsewhere") {
  struct Counter {
    long value;  // gcc 12 warns of calls by pointer to members of an object smaller than a pointer
    long& add(int n) {
      value += n;
      return value;
    }
  };
  for (const std::size_t room : {KiB, more_than_there_is}) {
    CHECK(ensure_stack(room, [] { return std::string("grown"); }) == "grown");
    int runs = 0;
    ensure_stack(room, [&] { ++runs; });
    CHECK(runs == 1);
    static_assert(std::is_void_v<decltype(ensure_stack(room, [] {}))>);

    const auto same = [](int& number) -> int& { return number; };
    static_assert(std::is_same_v<decltype(ensure_stack(room, same, runs)), int&>);
    CHECK(&ensure_stack(room, same, runs) == &runs);

    auto sum = ensure_stack(
        room, [](std::unique_ptr<int> one) { return std::make_unique<int>(*one + 1); },
        std::make_unique<int>(41));
    CHECK(*sum == 42);

    Counter counter{.value = 1};
    CHECK(&ensure_stack(room, &Counter::add, counter, 2) == &counter.value);
    CHECK(counter.value == 3);
    auto once = [only = std::make_unique<int>(7)]() mutable { return std::move(only); };
    CHECK(*ensure_stack(room, std::move(once)) == 7);
  }
}

TEST_CASE("an exception comes up through many stacks as the same object") {
  for (int round = 0; round < 2; ++round) {
    std::string told;
    run_in_thread(128 * KiB, [&] {
      try {
        throw_from(10'000);
      } catch (const std::runtime_error& error) {
        told = error.what();
      }
    });
    CHECK(told == "from below");
  }
}

TEST_CASE("a function that there is room for keeps errno") {
  errno = EPIPE;
  CHECK(ensure_stack(KiB, [] { return errno; }) == EPIPE);
}

// ---- many threads, and children -----------------------------------------------------------------

TEST_CASE("threads recurse at once, and begin and end meanwhile") {
  const StackOptions options = small();
  constexpr std::size_t depth = under_thread_sanitizer ? 2'000 : 20'000;
  for (int round = 0; round < 4; ++round) {
    Seen seen[4];
    std::thread threads[4];
    for (int i = 0; i < 4; ++i) {
      threads[i] = std::thread([&, i] { seen[i] = go(depth, &options); });
    }
    for (int i = 0; i < 4; ++i) {
      threads[i].join();
      CHECK(seen[i].depth == depth + 1);
    }
  }
}

namespace {

/// Forks at the bottom. The child goes deeper, and comes back all the way.
[[gnu::noinline]] void fork_at_the_bottom(int level, pid_t& child) {
  volatile char room[64];
  keep(room);
  if (level == 0) {
    child = fork();
    if (child == 0) {
      alarm(60);
      const Seen seen = go(levels);
      child = seen.depth == levels + 1 ? 0 : -1;
    }
    return;
  }
  const StackOptions options = small();
  ensure_stack(options, bytes, fork_at_the_bottom, level - 1, child);
}

}  // namespace

TEST_CASE("a child that is forked in the middle goes deeper, and returns as its parent does") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer knows no threads after a fork");
  }
  pid_t child = -1;
  fork_at_the_bottom(10'000, child);
  if (child <= 0) {
    _exit(child == 0 ? 7 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 7);
}
