// The alternate signal stack of a thread that has ended, which the next thread gets.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include "support/alternate_stack.hpp"
#include "support/forked.hpp"
#include "support/recursion.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

/// Attaches a thread to which a sanitizer may have given an alternate stack.
void attach_bare_thread() {
  take_alternate_stack_away();
  attach_thread();
}

/// A way to have a function run in a thread that is attached.
struct Way {
  const char* name;
  void (*run)(const std::function<void()>& body);
};

constexpr Way by_attaching{"std::thread", [](const std::function<void()>& body) {
                             std::thread([&] {
                               attach_bare_thread();
                               body();
                             }).join();
                           }};

void* run_body(void* body) {
  (*static_cast<const std::function<void()>*>(body))();
  return nullptr;
}

const std::array ways{
    by_attaching,
    Way{"Thread", [](const std::function<void()>& body) { Thread([&] { body(); }).join(); }},
    Way{"Thread on a pool's stack",
        [](const std::function<void()>& body) {
          static StackPool pool({.reserve = 64 * MiB});
          Thread(pool.acquire(), [&] { body(); }).join();
        }},
    Way{"detached Thread",
        [](const std::function<void()>& body) {
          const std::size_t before = thread_count();
          std::barrier<> done(2);
          Thread([&] {
            body();
            static_cast<void>(done.arrive());
          }).detach();
          done.arrive_and_wait();
          CHECK(threads_come_down_to(before));
        }},
    Way{"create_thread", [](const std::function<void()>& body) {
          const Stack stack({.reserve = 64 * MiB});
          pthread_t thread{};
          std::function<void()> copy = body;
          REQUIRE(create_thread(&thread, stack, nullptr, run_body, &copy) == 0);
          pthread_join(thread, nullptr);
        }}};

/// Runs body() in a thread, and returns the alternate stack that the thread had.
stack_t stack_of(
    const Way& way, const std::function<void()>& body = [] {}) {
  stack_t had{};
  way.run([&] {
    had = current_alternate_stack();
    body();
  });
  return had;
}

/// Calls itself on the alternate stack, in a handler of the program, and fills all of it but 8 KiB.
sigjmp_buf outside;
enum class Leaves { by_return, by_siglongjmp, by_pthread_exit };
Leaves leaves;

[[gnu::noinline]] void fill_down_to(const char* lowest) {
  volatile char frame[512];
  std::fill_n(frame, sizeof frame, 'x');
  if (const_cast<const char*>(frame) > lowest) {
    fill_down_to(lowest);
  }
  keep(frame);
}

void fill_and_leave(int) {
  fill_down_to(static_cast<char*>(current_alternate_stack().ss_sp) + 8 * KiB);
  if (leaves == Leaves::by_siglongjmp) {
    siglongjmp(outside, 1);
  }
  if (leaves == Leaves::by_pthread_exit) {
    pthread_exit(nullptr);
  }
}

void fill_alternate_stack() {
  struct sigaction action {};
  action.sa_handler = fill_and_leave;
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR1, &action, nullptr);
  int (*volatile send)(int) = raise;  // which is declared to throw nothing, not even a thread's end
  if (sigsetjmp(outside, 1) == 0) {
    send(SIGUSR1);
  }
}

std::size_t resident_bytes(const stack_t& stack) {
  std::vector<unsigned char> there(stack.ss_size / handler::page_size());
  REQUIRE(mincore(stack.ss_sp, stack.ss_size, there.data()) == 0);
  return handler::page_size() *
         static_cast<std::size_t>(std::count_if(
             there.begin(), there.end(), [](unsigned char page) { return (page & 1U) != 0; }));
}

bool is_readable(const void* address) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const bool result = write(ends[1], address, 1) == 1;
  close(ends[0]);
  close(ends[1]);
  return result;
}

char* guard_of(const stack_t& stack) {
  return static_cast<char*>(stack.ss_sp) - handler::page_size();
}

/// Has nothing kept, whatever threads ended before.
void begin_empty() { trim(); }

}  // namespace

TEST_CASE(
    "the alternate stack of a thread that has ended goes to the next one, which grows on it") {
  if (sanitized) {
    return skip("a sanitizer gives most threads an alternate stack of its own");
  }
  for (const Way& way : ways) {
    CAPTURE(std::string(way.name));
    begin_empty();
    static_cast<void>(stack_of(way));  // the library's first thread of its kind
    const stack_t first = stack_of(way, [] { CHECK(recurse(1000) == 1000); });
    std::size_t frames = 0;
    const stack_t next = stack_of(
        way, [&] { frames = call({.reserve = 64 * MiB}, [] { return recurse(20'000); }); });
    CHECK(next.ss_sp == first.ss_sp);
    CHECK(next.ss_size == first.ss_size);
    CHECK(frames == 20'000);
    CHECK_FALSE(is_readable(guard_of(next)));
  }
}

TEST_CASE("a kept alternate stack has given back what signal handlers used, however they ended") {
  if (sanitized) {
    return skip("a sanitizer gives most threads an alternate stack of its own");
  }
  for (const Leaves each : {Leaves::by_return, Leaves::by_siglongjmp, Leaves::by_pthread_exit}) {
    leaves = each;
    CAPTURE(static_cast<int>(each));
    begin_empty();
    std::size_t deep_in_use = 0;
    const stack_t first = stack_of(by_attaching, [&] {
      const stack_t mine = current_alternate_stack();
      struct Look {
        const stack_t& stack;
        std::size_t& bytes;
        ~Look() { bytes = resident_bytes(stack); }
      } const look{mine, deep_in_use};
      fill_alternate_stack();
    });
    CHECK(deep_in_use > 40 * KiB);
    CHECK(resident_bytes(first) <= 16 * KiB);
    CHECK(stack_of(by_attaching).ss_sp == first.ss_sp);
  }
}

TEST_CASE("a thread that is cancelled leaves its alternate stack to the next one") {
  if (sanitized) {
    return skip("a sanitizer gives most threads an alternate stack of its own");
  }
  begin_empty();
  static stack_t had;
  pthread_t thread{};
  REQUIRE(pthread_create(
              &thread, nullptr,
              [](void*) -> void* {
                attach_bare_thread();
                had = current_alternate_stack();
                for (;;) {
                  pause();
                }
              },
              nullptr) == 0);
  pthread_cancel(thread);
  void* result = nullptr;
  pthread_join(thread, &result);
  CHECK(result == PTHREAD_CANCELED);
  if (had.ss_sp != nullptr) {  // it was cancelled after it was attached
    CHECK(stack_of(by_attaching).ss_sp == had.ss_sp);
  }
}

TEST_CASE("the guard of a kept alternate stack is forbidden again if the program has opened it") {
  if (sanitized) {
    return skip("a sanitizer gives most threads an alternate stack of its own");
  }
  begin_empty();
  const stack_t first = stack_of(by_attaching, [] {
    char* const guard = guard_of(current_alternate_stack());
    REQUIRE(mprotect(guard, handler::page_size(), PROT_READ | PROT_WRITE) == 0);
    *guard = 'x';
  });
  const stack_t next = stack_of(by_attaching);
  CHECK(next.ss_sp == first.ss_sp);
  CHECK_FALSE(is_readable(guard_of(next)));
}

TEST_CASE("an alternate stack that the program had replaced by another is not left behind") {
  if (sanitized) {
    return skip("a sanitizer unmaps the alternate stack that it finds when the thread ends");
  }
  begin_empty();
  static char theirs[64 * 1024];
  const stack_t first = stack_of(by_attaching, [] {
    const stack_t other{.ss_sp = theirs, .ss_flags = 0, .ss_size = sizeof theirs};
    REQUIRE(sigaltstack(&other, nullptr) == 0);
  });
  // It is still ours, as the mark at its lower end says. So it is not left behind. (Other memory
  // may have been kept at the same place.)
  growstack::trim();
  unsigned char there = 0;
  CHECK(mincore(first.ss_sp, handler::page_size(), &there) == -1);
}

namespace {

/// What unmap_alternate_stack() took away.
stack_t gone{};

/// Takes its alternate stack from the calling thread as a sanitizer does when a thread ends.
void unmap_alternate_stack() {
  gone = take_alternate_stack_away();
  munmap(gone.ss_sp, gone.ss_size);
}

/// Gives its place to the program, too, which has data there.
void put_data_in_place_of_alternate_stack() {
  unmap_alternate_stack();
  void* const data = mmap(gone.ss_sp, gone.ss_size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (data != gone.ss_sp) {
    _exit(98);
  }
  std::memset(data, 'x', gone.ss_size);
}

/// Has an alternate stack of the program begin at that place, too.
void put_stack_and_data_in_place_of_alternate_stack() {
  put_data_in_place_of_alternate_stack();
  const stack_t theirs{.ss_sp = gone.ss_sp, .ss_flags = 0, .ss_size = gone.ss_size / 2};
  sigaltstack(&theirs, nullptr);
}

/// Returns whether the data there is as it was, above what may be a stack.
bool data_is_whole() {
  const char* const data = static_cast<char*>(gone.ss_sp);
  return std::all_of(data + gone.ss_size / 2, data + gone.ss_size,
                     [](char each) { return each == 'x'; });
}

/// Begins a child, so that its service threads are there.
void begin_child() {
  begin_empty();
  Thread([] {}).join();
}

bool next_thread_grows() {
  std::size_t frames = 0;
  static_cast<void>(stack_of(
      by_attaching, [&] { frames = call({.reserve = 64 * MiB}, [] { return recurse(20'000); }); }));
  return frames == 20'000;
}

/// What a thread does in a round of the destructors of keys, after our destructor of that round.
struct Late {
  pthread_key_t key;
  int rounds;  ///< that are still to come, with its own
  void (*action)();
} late;

void prepare_late(int round, void (*action)()) {
  late.rounds = round;
  late.action = action;
  pthread_key_create(&late.key, [](void* value) {
    if (--late.rounds == 0) {
      late.action();
    } else {
      pthread_setspecific(late.key, value);
    }
  });
}

void set_late() { pthread_setspecific(late.key, &late); }

/// Checks that all is well in children in which a thread does action(): in its function, or in the
/// first or the second round of the destructors of keys.
template <class Check>
void check_whenever(void (*action)(), const Check& is_well) {
  for (const Way& way : ways) {
    for (const int round : {0, 1, 2}) {
      CAPTURE(std::string(way.name));
      CAPTURE(round);
      CHECK(end_of_child([&] {
              begin_child();
              prepare_late(round, action);
              way.run([&] { round == 0 ? action() : set_late(); });
              return is_well() && next_thread_grows() && is_well() ? 7 : 1;
            }) == 7);
    }
  }
}

}  // namespace

TEST_CASE("a thread ends well after somebody took its alternate stack away and unmapped it") {
  if (sanitized) {
    return skip("a sanitizer gives most threads an alternate stack of its own");
  }
  check_whenever(unmap_alternate_stack, [] { return true; });
}

TEST_CASE("what the program puts in the place of an alternate stack stays whole when threads end") {
  if (sanitized) {
    return skip("a sanitizer gives most threads an alternate stack of its own");
  }
  check_whenever(put_data_in_place_of_alternate_stack, data_is_whole);
  check_whenever(put_stack_and_data_in_place_of_alternate_stack, data_is_whole);
}

TEST_CASE("late destructors of a Thread go deep after somebody unmapped its alternate stack") {
  if (sanitized) {
    return skip("a sanitizer gives most threads an alternate stack of its own");
  }
  CHECK(end_of_child([] {
          begin_child();
          static std::size_t frames = 0;
          prepare_late(1, [] { frames = recurse(20'000); });
          Thread({.reserve = 64 * MiB}, [] {
            set_late();
            unmap_alternate_stack();
          }).join();
          return frames == 20'000 && next_thread_grows() ? 7 : 1;
        }) == 7);
}

TEST_CASE("a call grows after somebody took the thread's alternate stack away and unmapped it") {
  if (sanitized) {
    return skip("a sanitizer gives most threads an alternate stack of its own");
  }
  for (const Way& way : ways) {
    CAPTURE(std::string(way.name));
    CHECK(end_of_child([&] {
            begin_child();
            std::size_t frames = 0;
            way.run([&] {
              unmap_alternate_stack();
              frames = call({.reserve = 64 * MiB}, [] { return recurse(20'000); });
            });
            return frames == 20'000 && next_thread_grows() ? 7 : 1;
          }) == 7);
  }
}

namespace {

/// What a program may do with an alternate stack that is never used.
struct Misuse {
  const char* name;
  void (*run)(const stack_t& stack);
};

char* upper_pages(const stack_t& stack, std::size_t count) {
  return static_cast<char*>(stack.ss_sp) + stack.ss_size - count * handler::page_size();
}

constexpr std::array misuses{
    Misuse{"read-only", [](const stack_t& mine) { mprotect(mine.ss_sp, mine.ss_size, PROT_READ); }},
    Misuse{"its uppermost page read-only",
           [](const stack_t& mine) {
             mprotect(upper_pages(mine, 1), handler::page_size(), PROT_READ);
           }},
    Misuse{"a page in the middle forbidden",
           [](const stack_t& mine) {
             mprotect(upper_pages(mine, 8), handler::page_size(), PROT_NONE);
           }},
    Misuse{"its lowest page forbidden",
           [](const stack_t& mine) { mprotect(mine.ss_sp, handler::page_size(), PROT_NONE); }},
    Misuse{"a page in the middle unmapped",
           [](const stack_t& mine) { munmap(upper_pages(mine, 8), handler::page_size()); }},
    Misuse{"its uppermost page unmapped",
           [](const stack_t& mine) { munmap(upper_pages(mine, 1), handler::page_size()); }},
    Misuse{"its guard unmapped",
           [](const stack_t& mine) { munmap(guard_of(mine), handler::page_size()); }},
    Misuse{"locked", [](const stack_t& mine) { mlock(mine.ss_sp, mine.ss_size); }},
    Misuse{"all but its upper end filled",
           [](const stack_t& mine) { std::memset(mine.ss_sp, 'x', mine.ss_size - 128); }},
};

/// Returns whether the calling thread can use all of its alternate stack, of which little is
/// resident.
bool has_good_alternate_stack() {
  const stack_t mine = current_alternate_stack();
  const bool is_lean = resident_bytes(mine) <= 16 * KiB;
  const bool has_guard = !is_readable(guard_of(mine));
  std::memset(mine.ss_sp, 'x', mine.ss_size);
  return is_lean && has_guard && recurse(10) == 10;
}

}  // namespace

TEST_CASE("a thread can use all of its alternate stack, whatever another one did with its own") {
  if (sanitized) {
    return skip("a sanitizer gives most threads an alternate stack of its own");
  }
  for (const Way& way : ways) {
    for (const Misuse& misuse : misuses) {
      CAPTURE(std::string(way.name));
      CAPTURE(std::string(misuse.name));
      CHECK(end_of_child([&] {
              begin_child();
              const std::size_t locked = status_bytes("VmLck");
              static_cast<void>(stack_of(way, [&] { misuse.run(current_alternate_stack()); }));
              bool is_good = false;
              way.run([&] { is_good = has_good_alternate_stack(); });
              return is_good && next_thread_grows() && status_bytes("VmLck") == locked ? 7 : 1;
            }) == 7);
    }
  }
}

TEST_CASE("an alternate stack of which the program has unmapped a part goes to no other thread") {
  if (sanitized) {
    return skip("a sanitizer gives most threads an alternate stack of its own");
  }
  begin_empty();
  const std::size_t page = handler::page_size();
  const stack_t first = stack_of(by_attaching, [page] {
    const stack_t mine = current_alternate_stack();
    leaves = Leaves::by_return;
    fill_alternate_stack();
    REQUIRE(munmap(mine.ss_sp, page) == 0);
  });
  unsigned char there = 0;
  CHECK(mincore(static_cast<char*>(first.ss_sp) + page, page, &there) == -1);
}

TEST_CASE("threads get alternate stacks of the size that was set last") {
  if (sanitized) {
    return skip("a sanitizer gives most threads an alternate stack of its own");
  }
  begin_empty();
  const std::size_t before = mapping_count();
  for (const std::size_t size : {128 * KiB, 32 * KiB, 64 * KiB}) {
    std::barrier<> both(2);
    std::thread older([&] {  // ends after the size has changed
      attach_bare_thread();
      both.arrive_and_wait();
      both.arrive_and_wait();
    });
    both.arrive_and_wait();
    REQUIRE(handler::set_alternate_stack_size(size) == 0);
    both.arrive_and_wait();
    older.join();
    CHECK(stack_of(by_attaching).ss_size == size);
    CHECK(stack_of(by_attaching).ss_size == size);
  }
  trim();
  CHECK(mapping_count() <= before + 4);  // libc may keep two more stacks of threads
}

TEST_CASE(
    "of many threads that end at once at most 16 leave their alternate stacks, until trim()") {
  if (sanitized) {
    return skip("a sanitizer has mappings of its own for each thread");
  }
  constexpr int count = 100;
  begin_empty();
  std::set<void*> stacks;
  std::vector<std::thread> threads;
  std::barrier<> all(count + 1);
  std::array<stack_t, count> had{};
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      attach_bare_thread();
      had[static_cast<std::size_t>(i)] = current_alternate_stack();
      all.arrive_and_wait();
    });
  }
  all.arrive_and_wait();
  for (std::thread& each : threads) {
    each.join();
  }
  const auto kept = [&] {
    return std::count_if(had.begin(), had.end(), [](const stack_t& stack) {
      unsigned char there = 0;
      return mincore(stack.ss_sp, 1, &there) == 0;
    });
  };
  CHECK(kept() > 0);
  CHECK(kept() <= 16);
  trim();
  CHECK(kept() == 0);
}

GROWSTACK_SCENARIO("uninstall") {
  static_cast<void>(call({.reserve = 64 * MiB}, [] { return recurse(20'000); }));
  const stack_t had = stack_of(by_attaching);
  unsigned char there = 0;
  require(mincore(had.ss_sp, 1, &there) == 0, "kept");
  require(handler::uninstall() == 0, "uninstalled");
  return mincore(had.ss_sp, 1, &there) == -1 && errno == ENOMEM ? 7 : 1;
}

TEST_CASE("uninstall() keeps no alternate stack") {
  if (sanitized) {
    return skip("a sanitizer gives most threads an alternate stack of its own");
  }
  CHECK(run_scenario("uninstall").exit_code == 7);
}

TEST_CASE(
    "children that are forked while threads come and go have threads of their own that grow") {
  if (sanitized) {
    return skip("a sanitizer's own locks are not free in such a child");
  }
  std::atomic<bool> ends{false};
  std::vector<std::thread> busy;
  for (int i = 0; i < 2; ++i) {
    busy.emplace_back([&] {
      while (!ends) {
        static_cast<void>(stack_of(by_attaching));
      }
    });
  }
  for (int i = 0; i < 20; ++i) {
    CHECK(end_of_child([] {
            std::set<void*> stacks;
            std::barrier<> all(3);
            std::array<void*, 3> had{};
            std::vector<std::thread> threads;
            for (std::size_t each = 0; each < had.size(); ++each) {
              threads.emplace_back([&, each] {
                attach_bare_thread();
                had[each] = current_alternate_stack().ss_sp;
                all.arrive_and_wait();
                static_cast<void>(call({.reserve = 64 * MiB}, [] { return recurse(20'000); }));
              });
            }
            for (std::thread& each : threads) {
              each.join();
            }
            return std::set<void*>(had.begin(), had.end()).size() == had.size() ? 7 : 1;
          }) == 7);
  }
  ends = true;
  for (std::thread& each : busy) {
    each.join();
  }
}

TEST_CASE("a hundred thousand threads in a row leave nothing behind") {
  if (sanitized) {
    return skip("a sanitizer has memory of its own for each thread");
  }
  const auto some = [](int count) {
    for (int i = 0; i < count; ++i) {
      std::thread([] { attach_bare_thread(); }).join();
    }
  };
  some(1000);
  const std::size_t mappings_before = mapping_count();
  const std::size_t resident_before = status_bytes("VmRSS");
  some(100'000);
  CHECK(mapping_count() <= mappings_before + 4);
  CHECK(status_bytes("VmRSS") <= resident_before + MiB);
}

TEST_CASE("a thread on a stack of a pool that has no name keeps the name of the program") {
  StackPool pool({.reserve = 64 * MiB});
  const auto name = [](Stack stack) {
    std::array<char, 16> told{};
    Thread(std::move(stack), [&] {
      pthread_getname_np(pthread_self(), told.data(), told.size());
    }).join();
    return std::string(told.data());
  };
  std::array<char, 16> programs{};
  pthread_getname_np(pthread_self(), programs.data(), programs.size());
  CHECK(name(pool.acquire()) == programs.data());
  CHECK(name(pool.acquire("worker")) == "worker");
}
