// Mappings, guards and their limits: what lies between a stack and its neighbours, and how many
// mappings there may be.
//
// A mapping is a range of addresses with the same permissions and flags, one line in
// /proc/self/maps. A stack with a guard takes two: what may be used, and below it the guard,
// without permissions (PROT_NONE). Two things follow from this. The kernel counts mappings, so many
// stacks need many mappings. And what a touch just below a stack does depends on which mapping lies
// there, if any.
#include "claims/claim.hpp"
#include "claims/large_frame.hpp"
#include "claims/look.hpp"
#include "claims/median.hpp"
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

bool kernel_is_at_least(int major, int minor) {
  utsname names{};
  int found_major = 0;
  int found_minor = 0;
  uname(&names);
  REQUIRE(std::sscanf(names.release, "%d.%d", &found_major, &found_minor) == 2);
  return found_major > major || (found_major == major && found_minor >= minor);
}

// ---- many mappings ------------------------------------------------------------------------------

/// Maps the smallest stack with a guard, as a thread library does: two mappings. Returns false if
/// the kernel refuses.
bool map_stack_with_guard() {
  void* const memory =
      mmap(nullptr, 2 * page_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory != MAP_FAILED && mprotect(memory, page_bytes(), PROT_NONE) == 0;
}

/// The time of one page fault, and of one mmap with its munmap.
struct Costs {
  double fault = 0;
  double map_and_unmap = 0;
};

Costs measure_costs(char* memory, std::size_t pages) {
  Costs costs;
  // So that each touch is a first touch again.
  madvise(memory, pages * page_bytes(), MADV_DONTNEED);
  Clock::time_point before = Clock::now();
  touch_each_page(memory, pages * page_bytes());
  costs.fault = nanoseconds_since(before) / static_cast<double>(pages);
  before = Clock::now();
  for (std::size_t round = 0; round < pages; ++round) {
    // It can only be read, unlike its neighbours, so that the kernel cannot just make one of them a
    // page larger.
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

  // First the limit. A child of fork() begins with the mappings of its parent, and what it adds
  // ends with it.
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
    CHECK(refused == ENOMEM);  // "out of memory", although there is enough
    // Two for each stack, give or take a few. The last stack may have got its memory and no guard.
    // And [vsyscall], which ends the list of mappings, is no mapping of the process.
    CHECK(before + 2 * *stacks <= most + 4);
    CHECK(before + 2 * *stacks + 4 >= most);
  } else {
    CHECK(refused == 0);  // a limit that somebody has raised far
  }

  // Then the cost. To find the mapping of an address the kernel walks a tree, which has a few
  // levels for 60,000 mappings and one or two for 100. A child that has so many and this process do
  // the same in turns.
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

  // Nothing tells of the maple tree itself, but its nodes are a kind of object that the kernel
  // counts.
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

/// Returns addresses at which nothing is mapped.
char* find_hole(std::size_t size) {
  void* const place =
      mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(place != MAP_FAILED);
  munmap(place, size);
  return static_cast<char*>(place);
}

/// Maps memory exactly at that place.
void map_at(char* place, std::size_t size, int protection, int further_flags = 0) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | further_flags;
  REQUIRE(mmap(place, size, protection, flags, -1, 0) == place);
}

/// Has the kernel write a byte, as part of a system call. Returns false where the kernel answers
/// EFAULT and a write of our own would be SIGSEGV. The system call is bare, because getrandom() of
/// glibc 2.41 writes without the kernel (vDSO, Linux 6.11).
bool can_be_written(char* place) { return syscall(SYS_getrandom, place, 1, 0) == 1; }

/// Grows the mapping whose lowest address is `lowest` page by page, until the kernel refuses or
/// `end` is reached. Returns its new lowest address.
char* grow(char* lowest, const char* end) {
  while (lowest > end && can_be_written(lowest - page_bytes())) {
    lowest -= page_bytes();
  }
  return lowest;
}

/// Returns the distance that a growing stack keeps from other mappings: 256 pages, unless the
/// kernel was booted with another number.
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
  // is noticed.
  CHECK(above_memory == room - stack_guard_gap());
  // It keeps none to memory without permissions, which it takes for a guard.
  CHECK(above_no_permissions == room);
  // And it keeps none to a mapping that grows down as well. The next frame would lie in the
  // neighbour's memory, without any fault.
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

  // munmap with the address and the size that mmap was called with succeeds, and leaves all the
  // rest.
  CHECK(munmap(stack, page_bytes()) == 0);
  const std::size_t left = mapped_bytes(hole, stack + page_bytes());
  CHECK(left == deep);
  // Only the list of mappings tells how far it grew. There is no system call that asks for it.
  CHECK(mapping_of(stack - 1).begin == reinterpret_cast<std::uintptr_t>(lowest));

  // munmap does not mind holes, so a program could unmap all of the room, however much of it is
  // used. But nobody owns the room, so what other code has mapped there goes as well.
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
  // Three mappings grow down, each with room below it. They share one hole. If each looked for a
  // hole of its own, it would find the room of the one before, which is free as far as the kernel
  // knows.
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
  // The limit is for each of them alone, and not for all together.
  CHECK(mapping_of(first).size() == limit);
  CHECK(mapping_of(second).size() == limit);

  // The kernel reads the limit when a touch asks for more, so a mapping that was stopped can go on.
  set_soft_limit(RLIMIT_STACK, 2 * limit);
  grow(first_lowest, first - room + page_bytes());
  CHECK(mapping_of(first).size() == 2 * limit);

  // It bounds growth and not mmap. A mapping may begin larger than the limit, but then it grows no
  // further.
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

/// Runs body() in a thread. Below its stack is a guard of one page, and below the guard is memory
/// that belongs to somebody else. Returns whether that memory was overwritten. To be called in a
/// child, because it may die.
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
  // Many small frames go 64 KiB too far. One of them touches the guard.
  const int small_frames = end_of_child([] {
    return run_above_a_neighbour([](void* stack) -> void* {
      descend_to(reinterpret_cast<std::uintptr_t>(stack) - 64 * KiB);
      return nullptr;
    });
  });
  CHECK(small_frames == killed_by(SIGSEGV));

  // One frame is twice as large as the stack, and only its far end is written. Nothing in between
  // is touched, not even the guard. The thread returns as if nothing had happened.
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

  // The main thread: each time glibc looks for the mapping in /proc/self/maps, and takes
  // RLIMIT_STACK for the size. So these are the bounds that the stack may have, and not those that
  // it has. (The arguments and the environment lie above it.)
  const char here = 0;
  if (!set_soft_limit(RLIMIT_STACK, 8 * MiB)) {
    return skip("RLIMIT_STACK allows less than this test needs");
  }
  const StackPlace main_thread = running_stack();
  set_soft_limit(RLIMIT_STACK, 4 * MiB);
  const StackPlace under_lower_limit = running_stack();
  CHECK(main_thread.contains(&here));
  CHECK(!main_thread.contains(&not_on_any_stack));
  CHECK(main_thread.size() <= 8 * MiB);
  CHECK(main_thread.size() > mapping_of(&here).size());
  CHECK(under_lower_limit.end == main_thread.end);
  CHECK(under_lower_limit.size() == main_thread.size() - 4 * MiB);

  // Another thread: glibc made the stack and remembers it. It is all there from the start, down to
  // the guard.
  StackPlace thread;
  bool thread_is_inside = false;
  bool main_is_inside = true;
  std::string below;
  std::thread([&] {
    const char here_in_thread = 0;
    thread = running_stack();
    thread_is_inside = thread.contains(&here_in_thread);
    main_is_inside = thread.contains(&here);
    below = mapping_of(thread.begin - 1).protection;
  }).join();
  CHECK(thread_is_inside);
  CHECK(!main_is_inside);
  CHECK(below == "---p");

  // A stack to which the program has switched by itself: glibc does not notice it, and still names
  // the thread's own. Only the maker of the stack can tell its bounds.
  growstack::Stack stack({.reserve = MiB, .strategy = growstack::Strategy::in_handler});
  bool glibc_says_inside = true;
  std::optional<growstack::StackBounds> growable;
  bool growable_says_inside = false;
  growstack::call(stack, [&] {
    const char here_on_growable = 0;
    glibc_says_inside = running_stack().contains(&here_on_growable);
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

/// Returns the flags, as smaps shows them, of a mapping that was made with further flags of mmap.
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

  // No growth, no guard, no lock: no flag goes, and only "nh" comes, the same as with
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

/// Makes stacks with make() until that fails, in a child that has no privileges and may lock
/// `limit` bytes. Returns how many it made, or 200 and more if privileges cannot be given up or
/// errno is not `expected`.
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

  // It does not help to lock pages only when they are touched, and to touch none: all of the range
  // counts at once. mlock2 says ENOMEM where mmap says EAGAIN.
  const int on_fault = locked_stacks(limit, ENOMEM, [&] {
    void* const memory =
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory != MAP_FAILED && mlock2(memory, size, MLOCK_ONFAULT) == 0;
  });
  CHECK(on_fault == 4);

  // With mlockall(MCL_FUTURE) every mapping is locked, even address space without permissions,
  // which has no memory behind it. With MCL_ONFAULT only what is touched is filled.
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

  // "What there is": one mapping that is larger than all memory and swap is refused, locked or not,
  // unless the system is told to promise anything (vm.overcommit_memory is 1). Many small ones that
  // exceed it together are not refused, because each is small enough. When their pages are filled,
  // a process is killed, which is not tried here.
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

/// Returns a letter for each page: R if it is resident, and . if not.
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
  // From the top, as on a stack, three pages are touched, one is left out, and one is only read.
  touch_each_page(memory + 5 * page, 3 * page);
  const char only_read = *static_cast<const volatile char*>(memory + 3 * page);
  CHECK(only_read == 0);
  // A page that was only read is said to be resident: the page of zeros, which all processes share,
  // stands in for it.
  const std::string touched = letters(mincore_pages(memory, 8 * page));
  CHECK(touched == "...R.RRR");

  // PROT_NONE takes permissions away, and no memory. A page that was filled stays filled, and an
  // empty one stays empty.
  REQUIRE(mprotect(memory + 4 * page, 2 * page, PROT_NONE) == 0);
  CHECK(letters(mincore_pages(memory, 8 * page)) == touched);

  // A guard marker (Linux 6.13) is a note in the page table that a touch shall be SIGSEGV. It drops
  // what was there, and to mincore it looks like a page that nobody has touched.
  constexpr int guard_install = 102;  // MADV_GUARD_INSTALL, which older C libraries do not name
  const bool markers = madvise(memory + 6 * page, page, guard_install) == 0;
  const std::string with_marker = letters(mincore_pages(memory, 8 * page));
  CHECK(with_marker == (markers ? "...R.R.R" : "...R.RRR"));
  CHECK((markers || errno == EINVAL || !kernel_is_at_least(6, 13)));

  // A hole is an error, and no empty page.
  REQUIRE(munmap(memory, page) == 0);
  CHECK_THROWS_AS(static_cast<void>(mincore_pages(memory, 8 * page)), std::system_error);

  // If there are huge pages, one touch makes a whole one resident. A huge page begins at a multiple
  // of its size.
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
