// grows_down: what stacks can and cannot do that the kernel grows by itself (MAP_GROWSDOWN).
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/stack_pool.hpp>

#include "support/address_of.hpp"
#include "support/descend.hpp"
#include "support/forked.hpp"
#include "support/injected_error.hpp"
#include "support/limits.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/supervised.hpp"
#include "support/units.hpp"

#include "memory/vm.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

using namespace growstack::testing;
using growstack::call;
using growstack::Stack;
using growstack::Strategy;
using growstack::handler::page_size;

TEST_CASE("a stack larger than RLIMIT_STACK is refused, with the limit and the cure") {
  const SoftLimit limit(RLIMIT_STACK, 4 * MiB);
  REQUIRE(limit.is_set());
  try {
    const Stack stack({.reserve = 4 * MiB + 1, .strategy = Strategy::grows_down});
    FAIL("it was not refused");
  } catch (const std::system_error& error) {
    CHECK(error.code() == std::errc::not_enough_memory);
    const std::string message = error.what();
    CHECK(message.find("RLIMIT_STACK, now 4 MiB") != std::string::npos);
    CHECK(message.find("ulimit -s") != std::string::npos);
  }
  CHECK(Stack({.reserve = 4 * MiB, .strategy = Strategy::grows_down}).reserved() == 4 * MiB);
}

TEST_CASE("with RLIMIT_STACK as large as the stack, the stack grows to its last byte") {
  const SoftLimit limit(RLIMIT_STACK, 4 * MiB);
  REQUIRE(limit.is_set());
  Stack stack({.reserve = 4 * MiB, .strategy = Strategy::grows_down});
  call(stack, [&] { touch_in_one_jump(reinterpret_cast<std::uintptr_t>(stack.floor())); });
  CHECK(stack.committed() == 4 * MiB);
}

GROWSTACK_SCENARIO("a large stack under a raised limit") {
  const SoftLimit limit(RLIMIT_STACK, RLIM_INFINITY);
  if (!limit.is_set()) {
    return 2;
  }
  Stack stack({.reserve = 512 * MiB, .strategy = Strategy::grows_down});
  call(stack, [] { touch_in_one_jump(GROWSTACK_HERE - 100 * MiB); });
  return stack.committed() >= 100 * MiB && stack.counters().growth_faults == 0 ? 0 : 3;
}

TEST_CASE(
    "a process that raises RLIMIT_STACK gets larger stacks at once, "
    "because the kernel reads the limit at the fault") {
#ifdef GROWSTACK_TESTED_UNDER_TSAN
  return skip("memory that ThreadSanitizer maps for itself lands in a hole as large as this one");
#endif
  if (limits_of(RLIMIT_STACK).rlim_max != RLIM_INFINITY) {
    return skip("the hard RLIMIT_STACK forbids to raise it");
  }
  CHECK(run_scenario("a large stack under a raised limit").exit_code == 0);
}

GROWSTACK_SCENARIO("a limit lowered later") {
  Stack stack({.reserve = 6 * MiB, .strategy = Strategy::grows_down, .name = "lowered"});
  call(stack, [] { descend(2 * MiB); });
  std::fprintf(stderr, "deep\n");
  const SoftLimit limit(RLIMIT_STACK, 3 * MiB);
  call(stack, [] { descend(5 * MiB); });
  return 0;
}

TEST_CASE("a limit that is lowered later ends the growth of stacks that exist, by SIGSEGV") {
#ifdef GROWSTACK_TESTED_UNDER_TSAN
  return skip(
      "the fault may strike inside of ThreadSanitizer's runtime, "
      "while that holds a lock which the report needs");
#endif
  const Ended ended = run_scenario("a limit lowered later");
  CHECK(ended.err.find("deep") != std::string::npos);
  CHECK(ended.signal == SIGSEGV);
}

TEST_CASE("the address space into which the stack grows is a hole where nothing is mapped") {
  Stack stack({.reserve = 6 * MiB, .strategy = Strategy::grows_down});
  CHECK(mapped_bytes(stack.floor(), stack.limit()) == 0);
  call(stack, [] { descend(2 * MiB); });
  CHECK(mapped_bytes(stack.floor(), stack.limit()) == 0);
  REQUIRE(!stack.trim());
  CHECK(mapped_bytes(stack.floor(), stack.limit()) == 0);
  CHECK(mapped_bytes(stack.limit(), stack.base()) == stack.committed());
}

TEST_CASE("a mapping that others put into the hole outlives the stack, with its contents") {
  auto stack = std::make_unique<Stack>(
      growstack::StackOptions{.reserve = 6 * MiB, .strategy = Strategy::grows_down});
  call(*stack, [] { descend(MiB); });
  auto* const place = static_cast<unsigned char*>(stack->floor()) + MiB;
  auto* const stranger =
      static_cast<unsigned char*>(mmap(place, page_size(), PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
  REQUIRE(stranger == place);
  stranger[0] = 42;

  CHECK(!stack->trim());
  CHECK(stranger[0] == 42);
  CHECK(call(*stack, [] { return descend(MiB); }) == 0);
  const void* const base = stack->base();
  const void* const floor = stack->floor();
  stack.reset();
  CHECK(stranger[0] == 42);
  CHECK(mapped_bytes(floor, base) == page_size());
  munmap(stranger, page_size());
}

TEST_CASE(
    "a mapping in a hole that a trim has made outlives the stack, also if nobody can tell where "
    "the "
    "stack begins") {
  auto stack = std::make_unique<Stack>(
      growstack::StackOptions{.reserve = 6 * MiB, .strategy = Strategy::grows_down});
  auto* const base = static_cast<unsigned char*>(stack->base());
  REQUIRE(!stack->trim_below(base - 4 * page_size()));
  unsigned char* const place = base - 12 * page_size();
  REQUIRE(place < stack->limit());
  auto* const stranger =
      static_cast<unsigned char*>(mmap(place, page_size(), PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
  REQUIRE(stranger == place);
  InjectedError::in_a_thread([&](InjectedError& injected) {
    injected.refuse(SYS_openat, EMFILE);
    CHECK(stack->trim_below(base - 2 * page_size()).value() == EMFILE);
    stack.reset();
  });
  CHECK(mapped_bytes(place, place + page_size()) == page_size());
  munmap(stranger, page_size());
}

namespace {

using Range = std::pair<std::uintptr_t, std::uintptr_t>;

bool overlap(const Range& one, const Range& other) {
  return one.first < other.second && other.first < one.second;
}

/// Returns whether a call unmaps memory, or maps over memory that may be there.
bool takes_away(const seccomp_data& asked) {
  return asked.nr == SYS_munmap || (asked.nr == SYS_mmap && (asked.args[3] & MAP_FIXED) != 0);
}

/// Makes and ends a stack in a child. Returns 7 if the child made a hole and never again unmapped,
/// or mapped over, any part of what it had unmapped.
int end_of_child_with_a_hole(std::size_t budget_left, const std::function<void(Stack&)>& use) {
  return end_of_child([&] {
    std::vector<Range> unmapped;
    unmapped.reserve(100);
    bool is_watched = false;
    bool again = false;
    const auto watch = [&](const seccomp_data& asked) {
      const Range range(asked.args[0], asked.args[0] + asked.args[1]);
      if (is_watched && takes_away(asked)) {
        again = again || std::any_of(unmapped.begin(), unmapped.end(),
                                     [&](const Range& before) { return overlap(before, range); });
        if (asked.nr == SYS_munmap) {
          unmapped.push_back(range);
        }
      }
      return Answer{};
    };
    supervise({{SYS_munmap}, {SYS_mmap}}, watch, [&] {
      { const Stack first({.reserve = MiB}); }  // starts the handler
      growstack::trim();  // otherwise a refused stack is tried again, in a new hole
      growstack::set_process_budget(budget_left);
      is_watched = true;
      const std::string refused = error_of([&] {
        Stack stack({.reserve = 6 * MiB, .strategy = Strategy::grows_down});
        use(stack);
      });
      is_watched = false;
      _exit(refused.empty() == (budget_left == SIZE_MAX) && !again ? 7 : 1);
    });
    return 0;
  });
}

}  // namespace

TEST_CASE("the hole of a stack that a budget refuses is never unmapped a second time") {
  if (sanitized) {
    return skip("a sanitizer unmaps memory of its own");
  }
  CHECK(end_of_child_with_a_hole(4 * KiB, [](Stack&) {}) == 7);
}

TEST_CASE("the hole of a stack is never unmapped a second time, neither by a trim nor at the end") {
  if (sanitized) {
    return skip("a sanitizer unmaps memory of its own");
  }
  CHECK(end_of_child_with_a_hole(SIZE_MAX, [](Stack&) {}) == 7);
  CHECK(end_of_child_with_a_hole(SIZE_MAX, [](Stack& stack) {
          static_cast<void>(stack.trim_below(static_cast<char*>(stack.base()) - 8 * KiB));
        }) == 7);
}

// ---- large holes --------------------------------------------------------------------------------

namespace {

using Strategies = std::vector<growstack::StrategyDescription>;

/// Returns the strategies that work here. Not heap, because the memory of malloc may lie anywhere.
Strategies with_own_address_space() {
  Strategies found;
  for (const growstack::StrategyDescription& each : growstack::strategies()) {
    if (each.own_address_space && growstack::supported(each.strategy)) {
      found.push_back(each);
    }
  }
  return found;
}

/// Makes stacks and a pool of each strategy.
std::vector<Stack> make_some_of_each(const Strategies& strategies) {
  std::vector<Stack> stacks;
  for (const growstack::StrategyDescription& each : strategies) {
    for (const std::size_t reserve : {MiB, each.locks_memory ? MiB : 100 * MiB}) {
      const std::string refused = error_of([&] {
        stacks.emplace_back(growstack::StackOptions{.reserve = reserve, .strategy = each.strategy});
      });
      require(refused.empty(), "a stack is made: " + refused);
    }
    if (each.pools()) {
      const std::string refused = error_of([&] {
        growstack::StackPool pool({.reserve = MiB, .strategy = each.strategy});
        static_cast<void>(pool.acquire());
      });
      require(refused.empty(), "a pool is made: " + refused);
    }
  }
  return stacks;
}

/// Maps whatever is free above a stack and has room for an arena. So the kernel puts the next arena
/// into the hole of the stack if it has room for one.
void fill_gaps_above(const Stack& stack) {
  constexpr std::size_t size = 128 * MiB;
  for (;;) {
    void* const filler =
        mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (filler == MAP_FAILED || filler < stack.base()) {
      munmap(filler, size);  // does nothing after a failure
      return;
    }
  }
}

/// Makes all kinds of stacks beside a stack with a large hole, which grows into it afterwards.
int reserve_beside_a_hole(std::size_t size) {
  const SoftLimit limit(RLIMIT_STACK, 2 * GiB);
  if (!limit.is_set()) {
    return 2;
  }
  // Nothing else shall land in the hole. At first threads and records are mapped, which stay.
  mallopt(M_MMAP_MAX, 0);
  const Strategies strategies = with_own_address_space();
  for (std::vector<std::vector<Stack>> twice; twice.size() < 2;) {
    twice.push_back(make_some_of_each(strategies));
  }
  Stack large({.reserve = size, .strategy = Strategy::grows_down, .name = "large"});
  fill_gaps_above(large);
  const std::vector<Stack> stacks = make_some_of_each(strategies);
  require(mapped_bytes(large.floor(), large.limit()) == 0, "the hole is free");
  require(call(large, [&] { return descend(size / 8); }) == 0, "the stack grows into the hole");
  call(large, [&] { touch_in_one_jump(address_of(large.floor())); });
  require(large.limit() == large.floor(), "down to its last byte");
  return 7;
}

GROWSTACK_SCENARIO("beside a hole of 256 MiB") { return reserve_beside_a_hole(256 * MiB); }
GROWSTACK_SCENARIO("beside a hole of 1 GiB") { return reserve_beside_a_hole(GiB); }

}  // namespace

TEST_CASE("stacks and pools are made beside a stack that has a hole as large as they are") {
  if (sanitized) {
    return skip("a sanitizer's own memory lands in a hole as large as this one");
  }
  for (const char* const scenario : {"beside a hole of 256 MiB", "beside a hole of 1 GiB"}) {
    CAPTURE(std::string(scenario));
    const Ended ended = run_scenario(scenario);
    if (ended.exit_code == 2) {
      return skip("the hard RLIMIT_STACK forbids to raise it");
    }
    CAPTURE(ended.err);
    CHECK(ended.exit_code == 7);
  }
}

GROWSTACK_SCENARIO("a stranger in the hole") {
  Stack stack({.reserve = 6 * MiB, .strategy = Strategy::grows_down, .name = "blocked"});
  auto* const place = static_cast<unsigned char*>(stack.floor()) + 2 * MiB;
  void* const stranger = mmap(place, page_size(), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (stranger != place) {
    return 2;
  }
  std::fprintf(stderr, "blocked\n");
  call(stack, [] { descend(5 * MiB); });
  return 0;
}

TEST_CASE("a mapping that others put into the hole ends the growth, by SIGSEGV") {
  const Ended ended = run_scenario("a stranger in the hole");
  CHECK(ended.err.find("blocked") != std::string::npos);
  CHECK(ended.signal == SIGSEGV);
  CHECK(ended.err.find("the kernel grew it no further") != std::string::npos);
  // It reports what is committed now, and not what was committed at first.
  CHECK(ended.err.find("committed 65536,") == std::string::npos);
}

namespace {

/// Maps pieces as large as an alternate signal stack wherever the kernel likes, until it would like
/// the hole below this stack.
void fill_what_lies_above_the_hole(const Stack& stack) {
  const std::size_t size = growstack::handler::alternate_stack_size() + page_size();
  for (int pieces = 0; pieces < 100'000; ++pieces) {
    void* const piece =
        mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    require(piece != MAP_FAILED, "mmap");
    if (address_of(stack.floor()) <= address_of(piece) &&
        address_of(piece) < address_of(stack.base())) {
      munmap(piece, size);
      return;
    }
  }
  require(false, "the kernel chooses the hole at last");
}

}  // namespace

GROWSTACK_SCENARIO("a thread beside an attractive hole") {
  Stack stack({.reserve = 6 * MiB, .strategy = Strategy::grows_down});
  fill_what_lies_above_the_hole(stack);
  std::size_t wrong = 1;
  growstack::Thread(std::move(stack), [&] { wrong = descend(4 * MiB); }).join();
  return wrong == 0 ? 7 : 1;
}

TEST_CASE(
    "the alternate signal stack of a thread does not land in the hole of the thread's stack") {
  if (sanitized) {
    return skip("the memory that a sanitizer maps for threads lands in the hole");
  }
  const Ended ended = run_scenario("a thread beside an attractive hole");
  CHECK(ended.exit_code == 7);
  CHECK(ended.err == "");
}

TEST_CASE("the high-water mark remembers a depth that was trimmed away") {
  Stack stack({.reserve = 6 * MiB, .strategy = Strategy::grows_down});
  call(stack, [] { descend(3 * MiB); });
  const std::size_t deepest = stack.committed();
  REQUIRE(!stack.trim());
  CHECK(stack.committed() < deepest);
  CHECK(stack.high_water_mark() == deepest);
  call(stack, [] { descend(MiB); });
  CHECK(stack.high_water_mark() == deepest);
  call(stack, [] { descend(4 * MiB); });
  CHECK(stack.high_water_mark() > deepest);
}

TEST_CASE("two stacks beside each other keep their distance and their contents") {
  Stack first({.reserve = 4 * MiB, .strategy = Strategy::grows_down});
  Stack second({.reserve = 4 * MiB, .strategy = Strategy::grows_down});
  const std::size_t wrong = call(first, [&] {
    std::size_t found = 0;
    found += call(second, [&] {
      return descend_to(reinterpret_cast<std::uintptr_t>(second.floor()), 16 * KiB);
    });
    found += descend_to(reinterpret_cast<std::uintptr_t>(first.floor()), 16 * KiB);
    return found;
  });
  CHECK(wrong == 0);
  CHECK(first.committed() <= 4 * MiB);
  CHECK(second.committed() <= 4 * MiB);
}

namespace {

/// A file whose name is shown as more than 4,352 letters in /proc/self/maps, because each newline
/// takes four. Most of it looks like the beginning of a line, wherever a reader cuts it.
std::filesystem::path file_that_looks_like_mappings(std::filesystem::path folder) {
  const std::string newlines(250, '\n');
  std::string mappings;
  while (mappings.size() < 240) {
    mappings += "1-7fffffffffff";
  }
  folder /= newlines;
  folder /= newlines;
  for (int times = 0; times < 10; ++times) {
    folder /= mappings;
  }
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "file") << std::string(page_size(), 'x');
  return folder / "file";
}

}  // namespace

TEST_CASE("the name of a file does not pass for a mapping, wherever a long line is cut") {
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  const std::uintptr_t begin = growstack::vm::mapping_start(here);
  REQUIRE(begin != 0);
  for (std::size_t shift = 1; shift <= 14; ++shift) {
    std::string folder = "/tmp/growstack-XXXXXX";
    REQUIRE(mkdtemp(folder.data()) != nullptr);
    const auto path =
        file_that_looks_like_mappings(std::filesystem::path(folder) / std::string(shift, 'a'));
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    REQUIRE(file >= 0);
    void* const mapped = mmap(nullptr, page_size(), PROT_READ, MAP_PRIVATE, file, 0);
    REQUIRE(mapped != MAP_FAILED);
    CHECK(growstack::vm::mapping_start(here) == begin);
    munmap(mapped, page_size());
    close(file);
    std::filesystem::remove_all(folder);
  }
}

TEST_CASE("all that the kernel grew is unmapped also where no file of /proc can be opened") {
  Stack stack({.reserve = 4 * MiB, .strategy = Strategy::grows_down});
  call(stack, [] { descend(3 * MiB); });
  const std::uintptr_t deep = address_of(stack.base()) - 2 * MiB;
  unsigned char there = 0;
  REQUIRE(mincore(reinterpret_cast<void*>(deep), page_size(), &there) == 0);
  {
    const SoftLimit no_descriptor(RLIMIT_NOFILE, 0);
    REQUIRE(no_descriptor.is_set());
    const Stack ended = std::move(stack);
  }
  CHECK(mincore(reinterpret_cast<void*>(deep), page_size(), &there) != 0);
}

TEST_CASE("memory of others that touches such a stack stays where no file of /proc can be opened") {
  Stack stack({.reserve = 4 * MiB, .strategy = Strategy::grows_down});
  call(stack, [] { descend(1 * MiB); });
  const std::uintptr_t start = address_of(stack.limit());
  // The kernel keeps its gap to accessible memory only, so others may come this close.
  void* const others = reinterpret_cast<void*>(start - 64 * KiB);
  REQUIRE(mmap(others, 64 * KiB, PROT_NONE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0) == others);
  {
    const SoftLimit no_descriptor(RLIMIT_NOFILE, 0);
    REQUIRE(no_descriptor.is_set());
    static_cast<void>(stack.trim());
    const Stack ended = std::move(stack);
  }
  unsigned char there = 0;
  CHECK(mincore(others, page_size(), &there) == 0);
  CHECK(mincore(reinterpret_cast<void*>(start), page_size(), &there) != 0);
  CHECK(munmap(others, 64 * KiB) == 0);
}
