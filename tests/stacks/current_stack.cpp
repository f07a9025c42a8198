// Which stack runs, and how much of it is left: on stacks of every owner, and after they have
// ended.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/address_of.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/foreign_stack.hpp"
#include "support/forked.hpp"
#include "support/injected_error.hpp"
#include "support/limits.hpp"
#include "support/sanitized.hpp"
#include "support/units.hpp"

#include <pthread.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <array>
#include <barrier>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

/// Returns what remaining_stack() tells, from a frame of its own.
[[gnu::noinline]] std::size_t remaining() { return remaining_stack(); }

/// What current_stack() and remaining_stack() say in the same place.
struct Seen {
  CurrentStack stack;
  std::size_t left = 0;
};

[[gnu::noinline]] Seen look() { return {.stack = current_stack(), .left = remaining_stack()}; }

/// The frames of look() and of its callers.
constexpr std::size_t few_frames = sanitized ? 32 * KiB : 4 * KiB;

/// Looks, and uses all that is left.
[[gnu::noinline]] Seen look_and_use() {
  const Seen seen = look();
  touch_in_one_jump(address_of(seen.stack.bounds.floor) + few_frames);
  return seen;
}

/// Checks that a stack of this size is told whole.
void check_whole(const Seen& seen, StackKind kind, std::size_t size) {
  CHECK(seen.stack.kind == kind);
  const auto told = static_cast<std::size_t>(static_cast<std::byte*>(seen.stack.bounds.base) -
                                             static_cast<std::byte*>(seen.stack.bounds.floor));
  CHECK(told == size);
  CHECK(seen.left <= size);
  CHECK(seen.left >= size - size / 8);
}

Seen look_in_fiber(void* begin, void* end) {
  Seen seen;
  run_in_fiber(begin, end, [&] { seen = look(); });
  return seen;
}
Seen look_in_fiber(const Memory& memory) { return look_in_fiber(memory.begin(), memory.end()); }

}  // namespace

TEST_CASE("the main thread has what its limit allows, and can use it") {
  if (limits_of(RLIMIT_STACK).rlim_cur != 8 * MiB) {
    return skip("RLIMIT_STACK is not 8 MiB");
  }
  const Seen seen = look_and_use();
  CHECK(seen.stack.kind == StackKind::main);
  CHECK(seen.left < 8 * MiB);
  CHECK(seen.left > 7 * MiB);
}

TEST_CASE("a thread has the stack that it was made with, and can use it") {
  for (const std::size_t size : {128 * KiB, 8 * MiB}) {
    Seen seen;
    run_in_thread(size, [&] { seen = look_and_use(); });
    check_whole(seen, StackKind::thread, size);
    CHECK(seen.stack.bounds.guard < seen.stack.bounds.floor);
  }
}

TEST_CASE("memory that was one thread's stack may be a smaller stack of the next one") {
  const Memory memory(8 * MiB);
  for (const std::size_t size : {8 * MiB, 512 * KiB}) {
    Seen seen;
    run_in_thread(
        size, [&] { seen = look_and_use(); }, &memory);
    check_whole(seen, StackKind::thread, size);
  }
}

TEST_CASE("a growstack::Thread runs on a stack of ours") {
  Seen seen;
  Thread({.reserve = 4 * MiB}, [&] { seen = look_and_use(); }).join();
  check_whole(seen, StackKind::growstack, 4 * MiB);
}

TEST_CASE("a pooled stack is known as far as its floor") {
  StackPool pool({.reserve = 4 * MiB});
  Stack stack = pool.acquire();
  const Seen seen = call(stack, look_and_use);
  check_whole(seen, StackKind::growstack, stack.reserved());
  CHECK(seen.stack.bounds.guard < seen.stack.bounds.floor);
}

STRATEGIES_WHERE(traits.own_address_space, "a stack of ours is known as far as its floor") {
  Stack stack({.reserve = MiB, .strategy = Of::strategy});
  const Seen seen = call(stack, look_and_use);
  check_whole(seen, StackKind::growstack, stack.reserved());
  const Seen here = look();
  CHECK(here.stack.kind == StackKind::main);
  CHECK(here.left > 0);
}

TEST_CASE("nothing is left on a stack that is unknown") {
  Stack heap({.reserve = MiB, .strategy = Strategy::heap});
  const Seen on_heap = call(heap, look);
  const Seen in_fiber = look_in_fiber(Memory(MiB));
  for (const Seen& seen : {on_heap, in_fiber}) {
    CHECK(seen.stack.kind == StackKind::unknown);
    CHECK(seen.stack.bounds.base == nullptr);
    CHECK(seen.left == 0);
  }
  CHECK(look().stack.kind == StackKind::main);
}

TEST_CASE("a stack is known while somebody tells it") {
  const Memory memory(MiB);
  for (const std::size_t size : {MiB, 256 * KiB, 512 * KiB, MiB}) {
    void* const low = static_cast<std::byte*>(memory.end()) - size;
    CHECK(look_in_fiber(memory).left == 0);
    {
      const KnownStack known(low, size);
      check_whole(look_in_fiber(memory), StackKind::known, size);
      check_whole(look_in_fiber(memory), StackKind::known, size);
    }
    CHECK(look_in_fiber(memory).stack.kind == StackKind::unknown);
  }
}

TEST_CASE("who tells a stack may move, and take back early") {
  const Memory one(MiB);
  const Memory other(256 * KiB);
  KnownStack first(one.begin(), one.size());
  KnownStack second(std::move(first));
  CHECK(look_in_fiber(one).left > 0);
  second = KnownStack(other.begin(), other.size());
  CHECK(look_in_fiber(one).left == 0);
  check_whole(look_in_fiber(other), StackKind::known, 256 * KiB);
}

TEST_CASE("a stack that is none is refused, and so is one that overlaps another") {
  const Memory memory(MiB);
  const KnownStack known(memory.begin(), MiB / 2);
  auto* const begin = static_cast<std::byte*>(memory.begin());
  const auto error_for = [](const void* low, std::size_t size) {
    try {
      const KnownStack refused(low, size);
      return 0;
    } catch (const std::system_error& error) {
      return error.code().value();
    }
  };
  CHECK(error_for(begin, 0) == EINVAL);
  CHECK(error_for(nullptr, MiB) == EINVAL);
  CHECK(error_for(begin + MiB / 2, SIZE_MAX) == EINVAL);
  CHECK(error_for(begin, 4 * KiB) == EEXIST);
  CHECK(error_for(begin + MiB / 2 - 1, 4 * KiB) == EEXIST);
  CHECK(error_for(begin - 4 * KiB, 8 * KiB) == EEXIST);
  CHECK(error_for(begin + MiB / 2, 4 * KiB) == 0);
}

TEST_CASE("a stack within another one ends where it was told") {
  alignas(4096) std::array<std::byte, 256 * KiB> room;
  const std::size_t before = remaining();
  CHECK(before > MiB);
  {
    const KnownStack known(room.data(), room.size());
    for (int round = 0; round < 2; ++round) {
      const Seen seen = look_in_fiber(room.data(), room.data() + room.size());
      check_whole(seen, StackKind::known, room.size());
      CHECK(remaining() == before);
      CHECK(look().stack.kind == StackKind::main);
    }
  }
}

TEST_CASE("a context on memory from elsewhere is unknown until it is told") {
  const Memory memory(MiB);
  static std::size_t left;
  const auto run = [&] {
    ucontext_t here{};
    ucontext_t there{};
    getcontext(&there);
    there.uc_stack = {.ss_sp = memory.begin(), .ss_flags = 0, .ss_size = memory.size()};
    there.uc_link = &here;
    makecontext(
        &there, [] { left = remaining_stack(); }, 0);
    swapcontext(&here, &there);
  };
  run();
  CHECK(left == 0);
  const KnownStack known(memory.begin(), memory.size());
  run();
  CHECK(left > 900 * KiB);
}

TEST_CASE("what is left falls as frames are made, and is the same when they have gone") {
  const std::size_t before = remaining();
  std::size_t deeper = 0;
  at_stack_pointer(GROWSTACK_HERE - 100 * KiB, [&] { deeper = remaining(); });
  CHECK(before - deeper >= 100 * KiB - few_frames);
  CHECK(before - deeper <= 100 * KiB + few_frames);
  CHECK(remaining() == before);
}

TEST_CASE("a question keeps errno") {
  errno = 0;
  run_in_thread(128 * KiB, [] {
    errno = EPIPE;
    static_cast<void>(remaining());
    CHECK(errno == EPIPE);
  });
  errno = EPIPE;
  static_cast<void>(remaining());
  CHECK(errno == EPIPE);
}

TEST_CASE("a question keeps errno also if the system does not answer") {
  const int end = end_of_child([] {
    InjectedError::for_good().refuse(SYS_openat, EACCES);  // /proc/self/maps, for the main thread
    errno = EPIPE;
    static_cast<void>(remaining());
    return errno == EPIPE ? 7 : 1;
  });
  if (end == no_filters) {
    return skip("seccomp filters are not available");
  }
  CHECK(end == 7);
}

// ---- stacks that have ended ---------------------------------------------------------------------

STRATEGIES_WHERE(traits.own_address_space,
                 "what was known of a stack of ours is forgotten when its addresses go") {
  for (int round = 0; round < 2; ++round) {
    std::optional<Stack> stack(std::in_place,
                               StackOptions{.reserve = MiB, .strategy = Of::strategy});
    void* const middle = static_cast<std::byte*>(stack->base()) - 512 * KiB;
    CHECK(call(*stack, remaining) > 900 * KiB);
    stack.reset();
    trim();
    const Memory memory(512 * KiB, middle);
    CHECK(look_in_fiber(memory).left == 0);
    const KnownStack known(memory.begin(), memory.size());
    check_whole(look_in_fiber(memory), StackKind::known, 512 * KiB);
  }
}

TEST_CASE("what was known of a pooled stack is forgotten when the pool ends") {
  std::optional<StackPool> pool(std::in_place, PoolOptions{.reserve = MiB});
  void* middle = nullptr;
  {
    Stack stack = pool->acquire();
    middle = static_cast<std::byte*>(stack.base()) - 512 * KiB;
    CHECK(call(stack, remaining) > 900 * KiB);
  }
  pool.reset();
  trim();
  CHECK(look_in_fiber(Memory(512 * KiB, middle)).left == 0);
}

TEST_CASE("all threads forget a stack whose addresses go") {
  std::optional<Stack> stack(std::in_place, StackOptions{.reserve = MiB});
  void* const middle = static_cast<std::byte*>(stack->base()) - 512 * KiB;
  std::barrier both(2);
  std::size_t left = 1;
  std::optional<Memory> memory;
  std::thread other([&] {
    CHECK(call(*stack, remaining) > 900 * KiB);
    both.arrive_and_wait();
    both.arrive_and_wait();
    run_in_fiber(*memory, [&] { left = remaining(); });
  });
  both.arrive_and_wait();
  stack.reset();
  trim();
  memory.emplace(512 * KiB, middle);
  both.arrive_and_wait();
  other.join();
  CHECK(left == 0);
}

TEST_CASE("a thread that ends may ask to its last destructor, and is not asked any more") {
  static std::size_t left;
  static pthread_key_t key;
  const auto ask_in_each_round = [](void* rounds) {
    left = remaining();
    if (address_of(rounds) > 1) {
      pthread_setspecific(key, reinterpret_cast<void*>(address_of(rounds) - 1));
    }
  };
  require(pthread_key_create(&key, ask_in_each_round) == 0, "a key");
  for (int round = 0; round < 2; ++round) {
    left = 0;
    run_in_thread(256 * KiB, [] {
      CHECK(remaining() > 0);
      pthread_setspecific(key, reinterpret_cast<void*>(PTHREAD_DESTRUCTOR_ITERATIONS));
    });
    CHECK(left > 128 * KiB);
    CHECK(left < 256 * KiB);
    const Stack ends;  // so that all threads forget it
  }
  pthread_key_delete(key);
}

TEST_CASE("in a forked child only the thread that forked remembers a stack") {
  std::barrier both(2);
  std::thread other([&] {
    static_cast<void>(remaining());
    both.arrive_and_wait();
    both.arrive_and_wait();
  });
  both.arrive_and_wait();
  const std::size_t before = remaining();
  CHECK(end_of_child([&] {
          // These get the memory of the thread that the child does not have.
          for (int count = 0; count < 4; ++count) {
            std::thread([] { static_cast<void>(call({.reserve = MiB}, remaining)); }).join();
            const Stack ends;
          }
          return remaining() > before / 2 && look().stack.kind == StackKind::main ? 7 : 1;
        }) == 7);
  both.arrive_and_wait();
  other.join();
}

TEST_CASE(
    "in a forked child, too, what was known of a pooled stack is forgotten when the pool ends") {
  static_cast<void>(remaining());
  CHECK(end_of_child([] {
          std::optional<StackPool> pool(std::in_place, PoolOptions{.reserve = MiB});
          void* middle = nullptr;
          {
            Stack stack = pool->acquire();
            middle = static_cast<std::byte*>(stack.base()) - 512 * KiB;
            static_cast<void>(call(stack, remaining));
          }
          pool.reset();
          trim();
          return look_in_fiber(Memory(512 * KiB, middle)).left == 0 ? 7 : 1;
        }) == 7);
}

TEST_CASE("a child of a thread runs on the stack of that thread, and not on the main one") {
  run_in_thread(256 * KiB, [] {
    CHECK(end_of_child([] {
            const Seen seen = look();
            return seen.stack.kind == StackKind::thread && seen.left < 256 * KiB ? 7 : 1;
          }) == 7);
  });
}

TEST_CASE("a limit that was raised counts as soon as there is no room") {
  CHECK(end_of_child([] {
          const rlimit limits = limits_of(RLIMIT_STACK);
          if (limits.rlim_cur != 8 * MiB || limits.rlim_max < 64 * MiB) {
            return 7;
          }
          const std::size_t before = remaining();
          const bool is_here_before =
              ensure_stack(20 * MiB, [] { return current_stack().kind == StackKind::main; });
          set_soft_limit(RLIMIT_STACK, 64 * MiB);
          const bool is_here = ensure_stack(20 * MiB, [] {
            return current_stack().kind == StackKind::main && descend(19 * MiB) == 0;
          });
          return !is_here_before && is_here && remaining() > before + 40 * MiB ? 7 : 1;
        }) == 7);
}

TEST_CASE("without a limit the heap is not taken for the stack of the main thread") {
  CHECK(end_of_child([] {
          if (limits_of(RLIMIT_STACK).rlim_max != RLIM_INFINITY) {
            return 7;
          }
          set_soft_limit(RLIMIT_STACK, RLIM_INFINITY);
          ensure_stack(GiB, [] {});  // so that it is looked up anew
          const CurrentStack main = current_stack();
          const auto low = reinterpret_cast<std::uintptr_t>(main.bounds.floor);
          const auto here = GROWSTACK_HERE;
          const auto end_of_heap = reinterpret_cast<std::uintptr_t>(sbrk(0));
          const bool is_apart = end_of_heap < low || end_of_heap > here;
          return main.kind == StackKind::main && is_apart && here - low <= 64 * GiB ? 7 : 1;
        }) == 7);
}

TEST_CASE("a limit of less than is in use leaves no room, until it is raised again") {
  CHECK(end_of_child([] {
          const rlimit limits = limits_of(RLIMIT_STACK);
          if (limits.rlim_cur != 8 * MiB) {
            return 7;
          }
          descend(MiB);  // otherwise there would be no more frames below the limit
          bool was_elsewhere = false;
          const auto deep = [&]() -> int {
            set_soft_limit(RLIMIT_STACK, 100 * KiB);
            ensure_stack(GiB, [] {});  // so that it is looked up anew
            const bool has_none = remaining() == 0;
            was_elsewhere =
                ensure_stack(64 * KiB, [] { return current_stack().kind == StackKind::growstack; });
            set_soft_limit(RLIMIT_STACK, 8 * MiB);
            const bool is_main = current_stack().kind == StackKind::main;
            return has_none && is_main && remaining() > MiB ? 7 : 1;
          };
          volatile char frame[200 * KiB];
          frame[0] = 1;
          const int result = deep();
          return was_elsewhere && frame[0] == 1 ? result : 2;
        }) == 7);
}

TEST_CASE("a limit of less than the arguments take leaves no room") {
  CHECK(end_of_child([] {
          set_soft_limit(RLIMIT_STACK, 4 * KiB);
          ensure_stack(GiB, [] {});  // so that it is looked up anew
          return remaining() == 0 && current_stack().kind == StackKind::unknown ? 7 : 1;
        }) == 7);
}

TEST_CASE(
    "a main thread whose limit reaches beyond other memory has what the kernel leaves of it") {
  CHECK(end_of_child([] {
          if (limits_of(RLIMIT_STACK).rlim_max != RLIM_INFINITY) {
            return 7;
          }
          const std::uintptr_t below = GROWSTACK_HERE / MiB * MiB - 64 * MiB;
          const Memory other(4 * KiB, reinterpret_cast<void*>(below));
          set_soft_limit(RLIMIT_STACK, GiB);
          ensure_stack(GiB, [] {});  // so that it is looked up anew
          const std::size_t left = look_and_use().left;
          return left > 60 * MiB && left < 64 * MiB ? 7 : 1;
        }) == 7);
}
