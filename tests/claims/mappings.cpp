// Mappings, guards and their limits: what stands between a stack and its neighbours, and how much
// of it there may be.
//
// A mapping is a range of addresses with the same permissions and flags, one line in
// /proc/self/maps. A stack with a guard takes two: what may be used, and below it the guard,
// without permissions (PROT_NONE). Two things follow that the reader learns here: mappings are
// counted, so many stacks are many mappings, and what becomes of an address just below a stack
// depends on which mapping lies there, if any.
#include "claims/claim.hpp"
#include "claims/large_frame.hpp"
#include "claims/look.hpp"
#include "support/descend.hpp"
#include "support/forked.hpp"
#include "support/limits.hpp"

#include <growstack/growstack.hpp>

#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace growstack::testing;

namespace {

using Clock = std::chrono::steady_clock;

double nanoseconds_since(Clock::time_point before) {
  return std::chrono::duration<double, std::nano>(Clock::now() - before).count();
}

double median(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  return samples.at(samples.size() / 2);
}

bool kernel_is_at_least(int major, int minor) {
  utsname names{};
  int found_major = 0;
  int found_minor = 0;
  uname(&names);
  REQUIRE(std::sscanf(names.release, "%d.%d", &found_major, &found_minor) == 2);
  return found_major > major || (found_major == major && found_minor >= minor);
}

// ---- many mappings ------------------------------------------------------------------------------

/// The smallest stack with a guard, as a thread library makes one: two mappings. False if the
/// kernel refuses.
bool map_stack_with_guard() {
  void* const memory =
      mmap(nullptr, 2 * page_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory != MAP_FAILED && mprotect(memory, page_bytes(), PROT_NONE) == 0;
}

/// What one page fault takes, and one mmap with its munmap.
struct Costs {
  double fault = 0;
  double map_and_unmap = 0;
};

Costs measure_costs(char* memory, std::size_t pages) {
  Costs costs;
  madvise(memory, pages * page_bytes(),
          MADV_DONTNEED);  // so that each touch is a first touch again
  Clock::time_point before = Clock::now();
  touch_each_page(memory, pages * page_bytes());
  costs.fault = nanoseconds_since(before) / static_cast<double>(pages);
  before = Clock::now();
  for (std::size_t round = 0; round < pages; ++round) {
    // Readable only: unlike its neighbours, so that the kernel cannot just make one of them a page
    // larger.
    munmap(mmap(nullptr, page_bytes(), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
           page_bytes());
  }
  costs.map_and_unmap = nanoseconds_since(before) / static_cast<double>(pages);
  return costs;
}

}  // namespace

CLAIM(32, "S, L",
      "Thousands of mmap calls is nothing. Since Linux 6.1 a maple tree holds the mappings.",
      "a fault hardly gets dearer with 60,000 mappings, but soon after no more are to be had") {
  const std::size_t most = number_in("/proc/sys/vm/max_map_count");
  REQUIRE(most > 2000);

  // First the end. A child of fork() begins with the mappings of its parent, and takes with it what
  // it adds.
  constexpr std::size_t enough = 300'000;
  auto* const stacks = static_cast<std::size_t*>(
      mmap(nullptr, page_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  REQUIRE(stacks != MAP_FAILED);
  const std::size_t before = mapping_count();
  const int refused = end_of_child([&] {
    while (*stacks < enough) {
      if (!map_stack_with_guard()) {
        return errno;
      }
      ++*stacks;
    }
    return 0;
  });
  if (most < 2 * enough) {
    CHECK(refused == ENOMEM);  // "out of memory", of which there is enough
    // Two for each stack. Give or take a few: the last stack may have got its memory, but not its
    // guard; and [vsyscall], which the list of mappings ends with, is no mapping of the process.
    CHECK(before + 2 * *stacks <= most + 4);
    CHECK(before + 2 * *stacks + 4 >= most);
  } else {
    CHECK(refused == 0);  // a limit that somebody has raised far
  }

  // Then the cost of those that one may have. To find the mapping of an address the kernel walks a
  // tree: with 60,000 that is a few levels deep, with 100 one or two. The same is done in turns by
  // a child that has them and by this process.
  const std::size_t many = std::min(std::size_t{60'000}, most - 1000);
  constexpr std::size_t pages = 128;
  constexpr int rounds = 40;
  std::array<int, 2> turn{};
  std::array<int, 2> answer{};
  REQUIRE((pipe(turn.data()) == 0 && pipe(answer.data()) == 0));
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    close(turn[1]);
    char* const memory = map_memory(pages * page_bytes());
    for (std::size_t mapped = 0; mapped < many && map_stack_with_guard(); mapped += 2) {
    }
    Costs costs;
    for (char go = 0; read(turn[0], &go, 1) == 1;) {
      costs = measure_costs(memory, pages);
      static_cast<void>(write(answer[1], &costs, sizeof costs) == sizeof costs);
    }
    _exit(0);
  }
  close(turn[0]);
  char* const memory = map_memory(pages * page_bytes());
  std::vector<double> fault_ratios;
  std::vector<double> map_ratios;
  for (int round = 0; round < rounds; ++round) {
    const Costs with_few = measure_costs(memory, pages);
    Costs with_many;
    REQUIRE(write(turn[1], "", 1) == 1);
    REQUIRE(read(answer[0], &with_many, sizeof with_many) == sizeof with_many);
    fault_ratios.push_back(with_many.fault / with_few.fault);
    map_ratios.push_back(with_many.map_and_unmap / with_few.map_and_unmap);
  }
  close(turn[1]);
  waitpid(child, nullptr, 0);

  // The maple tree cannot be asked for, but its nodes are a kind of object that the kernel counts.
  const bool kinds_are_listed = access("/sys/kernel/slab", R_OK) == 0;
  if (kinds_are_listed && kernel_is_at_least(6, 1)) {
    CHECK(access("/sys/kernel/slab/maple_node", F_OK) == 0);
  }
  found(Verdict::holds,
        "{} stacks with guards, then {}; with {} mappings instead of {} "
        "a fault costs {:.2f} times as much, mmap and munmap {:.2f} times",
        *stacks, refused == ENOMEM ? "ENOMEM" : "enough", many, before, median(fault_ratios),
        median(map_ratios));
}

namespace {

// ---- MAP_GROWSDOWN ------------------------------------------------------------------------------
//
// A mapping that the kernel itself makes larger: a touch below its lowest address moves that
// address down. The main thread's stack is one, and mmap makes others with the flag MAP_GROWSDOWN.
// Below such a mapping lies nothing: no reservation.

/// Addresses at which nothing is mapped.
char* find_hole(std::size_t size) {
  void* const place =
      mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(place != MAP_FAILED);
  munmap(place, size);
  return static_cast<char*>(place);
}

/// Maps something exactly there.
void map_at(char* place, std::size_t size, int protection, int further_flags = 0) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | further_flags;
  REQUIRE(mmap(place, size, protection, flags, -1, 0) == place);
}

/// Has the kernel write a byte there, as part of a system call. It answers EFAULT where a write of
/// our own would be SIGSEGV. The system call is bare, because getrandom() of glibc 2.41 writes
/// without the kernel (vDSO, Linux 6.11).
bool can_be_written(char* place) { return syscall(SYS_getrandom, place, 1, 0) == 1; }

/// Grows the mapping whose lowest address is `lowest` page by page, until the kernel refuses or
/// `end` is reached. Returns its new lowest address.
char* grow(char* lowest, const char* end) {
  while (lowest > end && can_be_written(lowest - page_bytes())) {
    lowest -= page_bytes();
  }
  return lowest;
}

/// The distance that a growing stack keeps from others: 256 pages, unless the kernel was booted
/// with another number.
std::size_t stack_guard_gap() {
  std::ifstream file("/proc/cmdline");
  std::string options;
  std::getline(file, options);
  constexpr std::string_view option = "stack_guard_gap=";
  const std::size_t at = options.find(option);
  return (at == std::string::npos ? 256 : std::stoul(options.substr(at + option.size()))) *
         page_bytes();
}

}  // namespace

CLAIM(33, "S",
      "MAP_GROWSDOWN can meet other mappings: how far it may grow depends on where they are.",
      "a MAP_GROWSDOWN mapping keeps a gap from memory in use, "
      "none from memory without permissions or from its like") {
  constexpr std::size_t room = 4 * MiB;
  if (!set_soft_limit(RLIMIT_STACK, 2 * room)) {
    return skip("RLIMIT_STACK allows less than this test needs");
  }
  // One page that grows down, with room below it; then a neighbour.
  const auto grown_above_neighbour = [&](int protection, int further_flags) {
    char* const neighbour = find_hole(page_bytes() + room + page_bytes());
    char* const end_of_room = neighbour + page_bytes();
    char* const stack = end_of_room + room;
    map_at(neighbour, page_bytes(), protection, further_flags);
    map_at(stack, page_bytes(), PROT_READ | PROT_WRITE, MAP_GROWSDOWN);
    return static_cast<std::size_t>(stack - grow(stack, end_of_room));
  };
  const std::size_t above_memory = grown_above_neighbour(PROT_READ | PROT_WRITE, 0);
  const std::size_t above_no_permissions = grown_above_neighbour(PROT_NONE, 0);
  const std::size_t above_its_like = grown_above_neighbour(PROT_READ | PROT_WRITE, MAP_GROWSDOWN);

  // The kernel keeps a gap to memory that may be used, so that a frame which reaches over the end
  // is noticed...
  CHECK(above_memory == room - stack_guard_gap());
  // ...none to memory without permissions, which is taken for a guard...
  CHECK(above_no_permissions == room);
  // ...and none to a mapping that grows down as well: the next frame would lie in the neighbour's
  // memory, without any fault.
  CHECK(above_its_like == room);
  found(Verdict::holds,
        "of {} KiB between it and a neighbour it gets {} KiB above read-write memory, "
        "{} above PROT_NONE, {} above another MAP_GROWSDOWN",
        room / KiB, above_memory / KiB, above_no_permissions / KiB, above_its_like / KiB);
}

CLAIM(34, "S", "To unmap a MAP_GROWSDOWN stack one must find out how far it grew.",
      "unmapping what was mapped leaves what a MAP_GROWSDOWN stack has grown, "
      "unmapping all it could grow to hits others") {
  constexpr std::size_t room = 4 * MiB;
  constexpr std::size_t deep = MiB;
  if (!set_soft_limit(RLIMIT_STACK, 2 * room)) {
    return skip("RLIMIT_STACK allows less than this test needs");
  }
  char* const hole = find_hole(room + page_bytes());
  char* const stack = hole + room;
  map_at(stack, page_bytes(), PROT_READ | PROT_WRITE, MAP_GROWSDOWN);
  char* const lowest = grow(stack, stack - deep);
  REQUIRE(lowest == stack - deep);

  // With the address and the size that mmap was called with, munmap succeeds, and leaves all the
  // rest.
  CHECK(munmap(stack, page_bytes()) == 0);
  const std::size_t left = mapped_bytes(hole, stack + page_bytes());
  CHECK(left == deep);
  // How far it grew is told by the list of mappings, and by nothing else: there is no system call
  // that asks for it.
  CHECK(mapping_of(stack - 1).begin == reinterpret_cast<std::uintptr_t>(lowest));

  // munmap does not mind holes, so one could unmap all of the room, however much is used. But
  // nobody owns the room: what other code mapped there in the meantime goes as well.
  char* const stranger = hole + MiB;
  map_at(stranger, page_bytes(), PROT_READ | PROT_WRITE);
  CHECK(munmap(hole, room + page_bytes()) == 0);
  CHECK(mapped_bytes(hole, stack + page_bytes()) == 0);
  found(Verdict::holds, "mapped {} KiB, grown by {} KiB, unmapped {} KiB: {} KiB are left",
        page_bytes() / KiB, deep / KiB, page_bytes() / KiB, left / KiB);
}

CLAIM(35, "L", "MAP_GROWSDOWN obeys RLIMIT_STACK.",
      "each MAP_GROWSDOWN mapping alone grows up to the RLIMIT_STACK of the moment") {
  constexpr std::size_t limit = MiB;
  constexpr std::size_t room = 8 * MiB;
  if (!set_soft_limit(RLIMIT_STACK, 2 * limit)) {
    return skip("RLIMIT_STACK allows less than this test needs");
  }
  // Three that grow down, each with room below it. They share one hole: were each to look for one
  // of its own, it would find the room of the one before, which is free as far as the kernel knows.
  char* const hole = find_hole(3 * room);
  const auto map_growing = [&](std::size_t place, std::size_t size) {
    char* const lowest = hole + (place + 1) * room - size;
    map_at(lowest, size, PROT_READ | PROT_WRITE, MAP_GROWSDOWN);
    return lowest;
  };
  set_soft_limit(RLIMIT_STACK, limit);
  char* const first = map_growing(0, page_bytes());
  char* const second = map_growing(1, page_bytes());
  char* const first_lowest = grow(first, first - room + page_bytes());
  grow(second, second - room + page_bytes());
  // The limit is for each of them alone, not for all stacks together.
  CHECK(mapping_of(first).size() == limit);
  CHECK(mapping_of(second).size() == limit);

  // It is read when a touch asks for more, so that one that was stopped can go on.
  set_soft_limit(RLIMIT_STACK, 2 * limit);
  grow(first_lowest, first - room + page_bytes());
  CHECK(mapping_of(first).size() == 2 * limit);

  // It bounds growth, not mmap: a mapping may begin larger than that, but then it grows no further.
  set_soft_limit(RLIMIT_STACK, limit);
  char* const large = map_growing(2, 2 * limit);
  CHECK(grow(large, large - page_bytes()) == large);
  found(Verdict::holds,
        "limit {} KiB: two mappings grow to {} KiB each; limit {} KiB: one of them to {} KiB",
        limit / KiB, mapping_of(second).size() / KiB, 2 * limit / KiB,
        mapping_of(first).size() / KiB);
}

namespace {

// ---- guards -------------------------------------------------------------------------------------

constexpr std::size_t neighbour_bytes = MiB;
constexpr std::size_t stack_bytes = large_frame_bytes / 2;

constexpr int nothing_noticed = 0;
constexpr int neighbour_overwritten = 7;

/// Runs body() in a thread whose stack lies so, from high to low addresses: the stack, a guard of
/// one page, memory that belongs to somebody else. Tells whether that was overwritten. For a child:
/// it may die.
int run_above_a_neighbour(void* (*body)(void*)) {
  no_core();
  char* const neighbour = map_memory(neighbour_bytes + page_bytes() + stack_bytes);
  char* const guard = neighbour + neighbour_bytes;
  char* const stack = guard + page_bytes();
  mprotect(guard, page_bytes(), PROT_NONE);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstack(&attributes, stack, stack_bytes);
  pthread_t thread{};
  if (pthread_create(&thread, &attributes, body, stack) != 0) {
    return 1;
  }
  pthread_join(thread, nullptr);
  const bool untouched = std::all_of(neighbour, guard, [](char each) { return each == 0; });
  return untouched ? nothing_noticed : neighbour_overwritten;
}

}  // namespace

CLAIM(38, "S", "A guard page makes overflow a fault.",
      "a guard page makes overflow a fault, but a frame larger "
      "than the guard lands beyond it, unless the compiler probes") {
  // Many small frames, 64 KiB too far: one of them touches the guard.
  const int small_frames = end_of_child([] {
    return run_above_a_neighbour([](void* stack) -> void* {
      descend_to(reinterpret_cast<std::uintptr_t>(stack) - 64 * KiB);
      return nullptr;
    });
  });
  CHECK(small_frames == killed_by(SIGSEGV));

  // One frame twice as large as the stack, of which only the far end is written: nothing in between
  // is touched, the guard neither. The thread returns as if nothing had been.
  const int one_large_frame = end_of_child([] {
    return run_above_a_neighbour([](void*) -> void* {
      large_frame();
      return nullptr;
    });
  });
  CHECK(one_large_frame == neighbour_overwritten);

  // The same source compiled with -fstack-clash-protection: a function that takes more than a page
  // touches every page of it on its way down, so it cannot step over a guard of one page.
  const int probed_large_frame = end_of_child([] {
    return run_above_a_neighbour([](void*) -> void* {
      large_frame_that_probes();
      return nullptr;
    });
  });
  CHECK(probed_large_frame == killed_by(SIGSEGV));
  found(Verdict::holds,
        "small frames: SIGSEGV; a frame of {} KiB over a guard of {} KiB: "
        "the neighbour's memory is written, no signal; with -fstack-clash-protection: SIGSEGV",
        large_frame_bytes / KiB, page_bytes() / KiB);
}

namespace {

/// Where the calling thread's stack lies, as the C library knows it.
struct Bounds {
  const char* lowest = nullptr;
  const char* end = nullptr;

  [[nodiscard]] bool contain(const void* address) const {
    const auto wanted = reinterpret_cast<std::uintptr_t>(address);
    return reinterpret_cast<std::uintptr_t>(lowest) <= wanted &&
           wanted < reinterpret_cast<std::uintptr_t>(end);
  }
  [[nodiscard]] std::size_t size() const { return static_cast<std::size_t>(end - lowest); }
};

Bounds bounds_of_this_thread() {
  pthread_attr_t attributes;
  void* lowest = nullptr;
  std::size_t size = 0;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) {
    return {};
  }
  pthread_attr_getstack(&attributes, &lowest, &size);
  pthread_attr_destroy(&attributes);
  return {.lowest = static_cast<const char*>(lowest),
          .end = static_cast<const char*>(lowest) + size};
}

const char not_on_any_stack = 0;

}  // namespace

CLAIM(39, "R",
      "One can ask for the running stack's bounds, "
      "and whether an address is inside (stack_getbounds, stack_inbounds).",
      "the running stack's bounds are known to pthread_getattr_np, "
      "or to whoever switched to another stack") {
  // Solaris's functions do not exist here.
  CHECK(dlsym(RTLD_DEFAULT, "stack_getbounds") == nullptr);
  CHECK(dlsym(RTLD_DEFAULT, "stack_inbounds") == nullptr);

  // The main thread: glibc looks for the mapping in /proc/self/maps and takes RLIMIT_STACK for the
  // size, each time anew. So the bounds are those the stack may have, not those it has. (The
  // arguments and the environment lie above it.)
  const char here = 0;
  if (!set_soft_limit(RLIMIT_STACK, 8 * MiB)) {
    return skip("RLIMIT_STACK allows less than this test needs");
  }
  const Bounds main_thread = bounds_of_this_thread();
  set_soft_limit(RLIMIT_STACK, 4 * MiB);
  const Bounds under_lower_limit = bounds_of_this_thread();
  CHECK(main_thread.contain(&here));
  CHECK(!main_thread.contain(&not_on_any_stack));
  CHECK(main_thread.size() <= 8 * MiB);
  CHECK(main_thread.size() > mapping_of(&here).size());
  CHECK(under_lower_limit.end == main_thread.end);
  CHECK(under_lower_limit.size() == main_thread.size() - 4 * MiB);

  // Another thread: glibc made the stack and remembers it. It is all there from the start, down to
  // the guard.
  Bounds thread;
  bool thread_is_inside = false;
  bool main_is_inside = true;
  std::string below;
  std::thread([&] {
    const char here_in_thread = 0;
    thread = bounds_of_this_thread();
    thread_is_inside = thread.contain(&here_in_thread);
    main_is_inside = thread.contain(&here);
    below = mapping_of(thread.lowest - 1).protection;
  }).join();
  CHECK(thread_is_inside);
  CHECK(!main_is_inside);
  CHECK(below == "---p");

  // A stack that the program switched to by itself: glibc does not notice, and goes on naming the
  // thread's own. Who made the stack must tell.
  growstack::Stack stack({.reserve = MiB, .strategy = growstack::Strategy::in_handler});
  bool glibc_says_inside = true;
  std::optional<growstack::StackBounds> growable;
  bool growable_says_inside = false;
  growstack::call(stack, [&] {
    const char here_on_growable = 0;
    glibc_says_inside = bounds_of_this_thread().contain(&here_on_growable);
    growable = growstack::current_stack_bounds();
    growable_says_inside = growable && growable->contains(&here_on_growable);
  });
  CHECK(!glibc_says_inside);
  CHECK(growable_says_inside);
  CHECK(!growable->contains(&here));
  CHECK(growable->base == stack.base());
  CHECK(!growstack::current_stack_bounds());  // here it is the main thread's again
  found(Verdict::holds,
        "by other names: pthread_getattr_np tells {} KiB for the "
        "main thread under a limit of 8192 KiB, {} KiB for a thread, "
        "the wrong stack on a growable one; current_stack_bounds tells {} KiB there",
        main_thread.size() / KiB, thread.size() / KiB, stack.reserved() / KiB);
}

namespace {

/// The flags of a mapping, as smaps shows them, that was made with further flags of mmap.
std::string flags_of_mapping_with(int further_flags) {
  char* const memory = map_memory(page_bytes(), further_flags);
  const std::string flags = mapping_of(memory).flags;
  munmap(memory, page_bytes());
  return flags;
}

std::vector<std::string> words_in(const std::string& text) {
  std::istringstream words(text);
  return {std::istream_iterator<std::string>(words), {}};
}

}  // namespace

CLAIM(41, "S", "MAP_STACK does nothing on Linux.",
      "MAP_STACK keeps huge pages away from a mapping, since Linux 6.7") {
  // VmFlags in smaps are all properties that the kernel keeps of a mapping, two letters each.
  const std::vector<std::string> without = words_in(flags_of_mapping_with(0));
  const std::vector<std::string> with = words_in(flags_of_mapping_with(MAP_STACK));
  std::vector<std::string> added;
  std::vector<std::string> lost;
  std::ranges::copy_if(with, std::back_inserter(added),
                       [&](const auto& each) { return std::ranges::count(without, each) == 0; });
  std::ranges::copy_if(without, std::back_inserter(lost),
                       [&](const auto& each) { return std::ranges::count(with, each) == 0; });

  // Neither growth nor a guard nor a lock: nothing goes, and nothing comes but "nh", the same as
  // madvise(MADV_NOHUGEPAGE). A huge page is 2 MiB in one piece. It would be filled at the first
  // touch of a stack that needs 8 KiB.
  CHECK(lost.empty());
  const bool has_effect = added == std::vector<std::string>{"nh"};
  CHECK((has_effect || added.empty()));
  const bool huge_pages_exist = access("/sys/kernel/mm/transparent_hugepage", F_OK) == 0;
  if (kernel_is_at_least(6, 7) && huge_pages_exist) {
    CHECK(has_effect);
  }
  found(has_effect ? Verdict::no_longer : Verdict::holds, "VmFlags with MAP_STACK: {}",
        has_effect ? "\"nh\" (no huge pages) is added" : "as without");
}

namespace {

std::size_t all_memory_and_swap() {
  struct sysinfo info {};
  sysinfo(&info);
  return (info.totalram + info.totalswap) * info.mem_unit;
}

constexpr int needs_privileges = 200;

/// In a child that has no privileges and may lock `limit` bytes: how many stacks of `size` bytes
/// can `make` make, until errno is `expected`? Exit codes: the number, or more than 200.
template <class Make>
int locked_stacks(std::size_t limit, int expected, const Make& make) {
  return end_of_child([&] {
    if (!become_nobody() || !set_both_limits(RLIMIT_MEMLOCK, limit)) {
      return needs_privileges;
    }
    int stacks = 0;
    while (stacks < 100 && make()) {
      ++stacks;
    }
    return errno == expected ? stacks : needs_privileges + 1;
  });
}

}  // namespace

CLAIM(42, "S",
      "With locking, mmap fails once the stacks together "
      "exceed what may be locked, or what there is.",
      "mmap of locked stacks fails once they exceed RLIMIT_MEMLOCK, "
      "touched or not, unless a privilege lifts that") {
  // Locked memory is in physical memory and stays there. What a process may lock is RLIMIT_MEMLOCK.
  // Four stacks fit into it.
  const std::size_t size = std::min<std::size_t>(limits_of(RLIMIT_MEMLOCK).rlim_max, MiB) / 4 /
                           page_bytes() * page_bytes();
  const std::size_t limit = 4 * size;
  if (size == 0) {
    return skip("next to nothing may be locked");
  }
  const auto map_locked = [&] {
    return mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1,
                0) != MAP_FAILED;
  };
  const int by_mmap = locked_stacks(limit, EAGAIN, map_locked);
  if (by_mmap == needs_privileges) {
    return skip(
        "the limit of locked memory cannot be set, or the privilege to exceed it not given up");
  }
  CHECK(by_mmap == 4);

  // To lock pages only when they are touched, and to touch none, is no way around: all of the range
  // counts at once. mlock2 says ENOMEM where mmap says EAGAIN.
  const int on_fault = locked_stacks(limit, ENOMEM, [&] {
    void* const memory =
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory != MAP_FAILED && mlock2(memory, size, MLOCK_ONFAULT) == 0;
  });
  CHECK(on_fault == 4);

  // With mlockall(MCL_FUTURE) every mapping is a locked one, even address space without
  // permissions, which no memory is behind. MCL_ONFAULT, so that only what is touched is filled.
  const int reserved = locked_stacks(limit, EAGAIN, [&] {
    static const bool all_are_locked = mlockall(MCL_FUTURE | MCL_ONFAULT) == 0;
    return all_are_locked &&
           mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
  });
  CHECK(reserved == 4);

  // The privilege CAP_IPC_LOCK, which root has, lifts the limit.
  const int as_this_user = end_of_child([&] {
    set_both_limits(RLIMIT_MEMLOCK, limit);
    int stacks = 0;
    while (stacks < 20 && map_locked()) {
      ++stacks;
    }
    return stacks;
  });
  CHECK((as_this_user == 4 || as_this_user == 20));

  // "What there is": one mapping larger than all memory and swap is refused, locked or not, unless
  // the system is told to promise anything (vm.overcommit_memory is 1). Many small ones that exceed
  // it together are not: each is small enough. They get a process killed when their pages are
  // filled, which is not tried here.
  if (number_in("/proc/sys/vm/overcommit_memory") != 1) {
    const std::size_t too_much = all_memory_and_swap() + GiB;
    CHECK(mmap(nullptr, too_much, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
          MAP_FAILED);
    CHECK(errno == ENOMEM);
  }
  found(Verdict::holds,
        "of stacks of {} KiB under RLIMIT_MEMLOCK of {} KiB: {} by MAP_LOCKED, "
        "{} by MLOCK_ONFAULT, {} reserved under MCL_FUTURE; {}",
        size / KiB, limit / KiB, by_mmap, on_fault, reserved,
        as_this_user == 20 ? "no limit with CAP_IPC_LOCK" : "this user has no CAP_IPC_LOCK");
}

namespace {

/// As letters, one for each page: R for resident, . for not.
std::string letters(const std::vector<bool>& pages) {
  std::string text;
  for (const bool resident : pages) {
    text += resident ? 'R' : '.';
  }
  return text;
}

}  // namespace

CLAIM(43, "R", "mincore tells which pages of a stack are resident.",
      "mincore tells which pages are resident, "
      "without permissions too, and not whether there is a guard") {
  const std::size_t page = page_bytes();
  char* const memory = map_memory(8 * page);
  madvise(memory, 8 * page, MADV_NOHUGEPAGE);
  CHECK(letters(mincore_pages(memory, 8 * page)) == "........");
  // From the top, as a stack does: three pages are touched, one is left out, one is only read.
  touch_each_page(memory + 5 * page, 3 * page);
  const char only_read = *static_cast<const volatile char*>(memory + 3 * page);
  CHECK(only_read == 0);
  // A page that was read is said to be resident: the one page of zeros, which all processes share,
  // stands in for it.
  const std::string touched = letters(mincore_pages(memory, 8 * page));
  CHECK(touched == "...R.RRR");

  // PROT_NONE takes permissions away, not memory: a page that was filled stays, one that was not
  // stays empty.
  REQUIRE(mprotect(memory + 4 * page, 2 * page, PROT_NONE) == 0);
  CHECK(letters(mincore_pages(memory, 8 * page)) == touched);

  // A guard marker (Linux 6.13) is a note in the page table that a touch shall be SIGSEGV. It drops
  // what was there, and to mincore it looks like a page that nobody has touched.
  constexpr int guard_install =
      102;  // MADV_GUARD_INSTALL, which C libraries of that time do not name
  const bool markers = madvise(memory + 6 * page, page, guard_install) == 0;
  const std::string with_marker = letters(mincore_pages(memory, 8 * page));
  CHECK(with_marker == (markers ? "...R.R.R" : "...R.RRR"));
  CHECK((markers || errno == EINVAL || !kernel_is_at_least(6, 13)));

  // A hole is an error, not an empty page.
  REQUIRE(munmap(memory, page) == 0);
  CHECK_THROWS_AS(static_cast<void>(mincore_pages(memory, 8 * page)), std::system_error);

  // A huge page, where there are any, is resident as a whole after one touch. It must begin at a
  // multiple of its size.
  constexpr std::size_t huge = 2 * MiB;
  const auto begin =
      (reinterpret_cast<std::uintptr_t>(map_memory(2 * huge)) + huge - 1) / huge * huge;
  auto* const block = reinterpret_cast<char*>(begin);
  madvise(block, huge, MADV_HUGEPAGE);
  touch_each_page(block + huge - page, page);
  const std::vector<bool> pages = mincore_pages(block, huge);
  const std::size_t resident = static_cast<std::size_t>(std::ranges::count(pages, true)) * page;
  CHECK(resident == resident_bytes(block, huge));
  CHECK(resident >= page);
  found(Verdict::holds,
        "three pages written and one read: {}; {}: {}; one touch with MADV_HUGEPAGE: {} KiB",
        touched, markers ? "a guard marker on one of them" : "no guard markers here", with_marker,
        resident / KiB);
}
