// The stack of a thread: where it lies, what it costs, and what becomes of it when the thread ends.
//
// Here begins the course. A stack is memory like any other: the kernel maps it, which gives
// addresses and costs next to nothing, and fills a page (4 KiB) with zeros when it is touched for
// the first time. What is filled is *resident*. Both can be seen in /proc/self/smaps, one entry for
// each mapping: its addresses, its permissions, and how much of it is resident.
//
// The kernel does not know what a thread's stack is. The C library, glibc, maps it, hands its upper
// end to the new thread, and keeps the memory when the thread has ended. So most of what is found
// here is glibc's doing.
#include "claims/claim.hpp"
#include "claims/look.hpp"
#include "support/descend.hpp"
#include "support/forked.hpp"
#include "support/limits.hpp"

#include <pthread.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <list>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

using namespace growstack::testing;

namespace {

void throw_if(int error) {
  if (error != 0) {
    throw std::system_error(error, std::generic_category());
  }
}

/// A thread that runs body() on a stack of that size, with a guard of that size below it. The
/// destructor waits for its end.
class Thread {
 public:
  Thread(std::size_t stack_bytes, std::size_t guard_bytes, std::function<void()> body)
      : body_(std::move(body)) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, stack_bytes);
    pthread_attr_setguardsize(&attributes, guard_bytes);
    start(attributes);
  }
  /// Runs body() as the attributes say.
  Thread(pthread_attr_t& attributes, std::function<void()> body) : body_(std::move(body)) {
    start(attributes);
  }

  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;
  ~Thread() { pthread_join(id_, nullptr); }

  [[nodiscard]] pthread_t id() const { return id_; }

 private:
  void start(pthread_attr_t& attributes) {
    const auto run = [](void* thread) -> void* {
      static_cast<Thread*>(thread)->body_();
      return nullptr;
    };
    const int error = pthread_create(&id_, &attributes, run, this);
    pthread_attr_destroy(&attributes);
    throw_if(error);
  }

  std::function<void()> body_;
  pthread_t id_{};
};

/// Runs body() in a thread with a stack of that size and the default guard, and waits for its end.
void in_thread(std::size_t stack_bytes, const std::function<void()>& body) {
  const Thread thread(stack_bytes, page_bytes(), body);
}

/// Writes one byte to an address in a child. Returns how the child ends: 0, or killed_by() of a
/// signal. A child has a copy of this process's memory, with the same addresses and permissions, so
/// nothing is written here.
int end_of_touch(char* address) {
  return end_of_child([=] {
    no_core();
    *const_cast<volatile char*>(address) = 1;
    return 0;
  });
}

constexpr int segmentation_fault = killed_by(SIGSEGV);

/// Returns whether the user has told glibc how many stacks to keep.
bool cache_is_tuned() {
  const char* const tunables = std::getenv("GLIBC_TUNABLES");
  return tunables != nullptr && contains(tunables, "glibc.pthread.stack_cache_size");
}

constexpr const char* tuned = "GLIBC_TUNABLES says how many stacks glibc keeps";

}  // namespace

CLAIM(1, "P",
      "A thread's stack is one anonymous mapping of the configured size, with a guard below it.",
      "a thread's stack is one anonymous mapping of the size asked for, with a guard below it") {
  constexpr std::size_t asked = 8 * MiB;
  StackPlace stack;
  std::vector<Mapping> pieces;
  Mapping below;
  int touch_of_lowest_byte = -1;
  int touch_below = -1;
  in_thread(asked, [&] {
    stack = running_stack();
    pieces = mappings_in(stack.begin, stack.end);
    // The guard is what ends where the stack begins. Nothing may be done there: a touch is SIGSEGV.
    below = mapping_of(stack.begin - 1);
    touch_of_lowest_byte = end_of_touch(stack.begin);
    touch_below = end_of_touch(stack.begin - 1);
  });
  REQUIRE(pieces.size() == 1);
  CHECK(pieces[0].protection == "rw-p");  // readable, writable, private
  CHECK(touch_of_lowest_byte == 0);
  CHECK(touch_below == segmentation_fault);
  // One page is the default of pthread_attr_setguardsize(3). It is a mapping without permissions;
  // glibc 2.42 and later mark the pages as a guard within the stack's own mapping, where the kernel
  // can (Linux 6.13).
  const std::size_t guard = below.protection == "---p" ? below.size() : page_bytes();
  CHECK((below.protection == "---p" || below.begin + guard == pieces[0].begin));
  CHECK(guard == page_bytes());
  // Older versions of glibc took the guard out of the size asked for.
  CHECK((stack.size() == asked || stack.size() + guard == asked));
  found(Verdict::holds, "{} KiB asked for: {} KiB {}, below it a guard of {} KiB {}", asked / KiB,
        pieces[0].size() / KiB, pieces[0].protection, guard / KiB, below.protection);
}

CLAIM(2, "P",
      "Touching all of a thread's stack raises RSS to its full size; "
      "returning from the function gives nothing back.",
      "touching all of a thread's stack makes all of it resident, "
      "and returning from the function gives nothing back") {
  StackPlace stack;
  std::size_t at_first = 0;
  std::size_t after_return = 0;
  in_thread(8 * MiB, [&] {
    stack = running_stack();
    at_first = resident_bytes(stack.begin, stack.size());
    // A function calls itself until less than a page is left, writes to every frame, and returns as
    // often.
    descend_to(reinterpret_cast<std::uintptr_t>(stack.begin), page_bytes());
    // The stack pointer is back near the upper end. But it is only a register of the processor: the
    // kernel is not told when it moves, and does not know that nobody will read these pages again.
    after_return = resident_bytes(stack.begin, stack.size());
  });
  CHECK(at_first < stack.size() / 2);
  CHECK(after_return == stack.size());
  found(Verdict::holds,
        "of {} KiB resident: {} KiB at first, {} KiB after all frames have returned",
        stack.size() / KiB, at_first / KiB, after_return / KiB);
}

CLAIM(3, "P",
      "When a thread exits, all but a few pages of its "
      "stack are dropped, while the mapping stays, cached.",
      "when a thread exits, glibc drops all but a few pages of its stack and keeps the mapping") {
  if (cache_is_tuned()) {
    return skip(tuned);
  }
  StackPlace stack;
  std::size_t when_running = 0;
  in_thread(8 * MiB, [&] {
    stack = running_stack();
    descend_to(reinterpret_cast<std::uintptr_t>(stack.begin), page_bytes());
    when_running = resident_bytes(stack.begin, stack.size());
  });
  // The thread has ended and was joined. As its last act it called madvise(MADV_DONTNEED), by which
  // the kernel takes the pages away and keeps the addresses: they would read as zeros. glibc spares
  // the 16 KiB (PTHREAD_STACK_MIN) below where the thread stands when it calls that, and everything
  // above, because the next owner will touch these anyway.
  const std::size_t left = resident_bytes(stack.begin, stack.size());
  CHECK(when_running == stack.size());
  CHECK(mapped_bytes(stack.begin, stack.end) == stack.size());
  CHECK(left >= 16 * KiB);
  CHECK(left < 256 * KiB);
  found(Verdict::holds, "{} KiB resident when running, {} KiB after the end; {} KiB still mapped",
        when_running / KiB, left / KiB, mapped_bytes(stack.begin, stack.end) / KiB);
}

CLAIM(4, "L, R",
      "The next thread of that size gets the cached stack, "
      "at the same address, and it may arrive with pages resident.",
      "the next thread of that size gets the cached stack, "
      "at the same address, with its pages and what was written there") {
  if (cache_is_tuned()) {
    return skip(tuned);
  }
  constexpr std::size_t depth = 12 * KiB;  // in the pages that are kept
  constexpr char secret = 42;
  StackPlace first;
  StackPlace second;
  std::size_t resident_at_start = 0;
  char what_is_there = 0;
  // A thread whose stack is new, to compare with: its size is not that of any stack that was kept.
  std::size_t resident_when_new = 0;
  in_thread(32 * MiB, [&] {
    const StackPlace stack = running_stack();
    resident_when_new = resident_bytes(stack.begin, stack.size());
  });
  in_thread(8 * MiB, [&] {
    first = running_stack();
    descend_to(reinterpret_cast<std::uintptr_t>(first.begin), page_bytes());
    *static_cast<volatile char*>(first.end - depth) = secret;
  });
  in_thread(8 * MiB, [&] {
    what_is_there = *static_cast<volatile char*>(first.end - depth);
    second = running_stack();
    resident_at_start = resident_bytes(second.begin, second.size());
  });
  CHECK(second.begin == first.begin);
  CHECK(second.end == first.end);
  // The pages that glibc spared are not cleared either: what a local variable holds before it is
  // assigned to may come from another thread.
  CHECK(what_is_there == secret);
  CHECK(resident_at_start >= 16 * KiB);
  CHECK(resident_at_start > resident_when_new);
  found(Verdict::holds,
        "same address, {} KiB resident when the thread "
        "starts (a new stack: {} KiB), old bytes still there",
        resident_at_start / KiB, resident_when_new / KiB);
}

namespace {

/// Runs `threads` threads at once with stacks of that size. Returns how many of their stacks are
/// still mapped when all have ended.
std::size_t stacks_kept(std::size_t threads, std::size_t stack_bytes) {
  std::vector<StackPlace> stacks;
  {
    std::barrier all_run(static_cast<std::ptrdiff_t>(threads + 1));
    std::list<Thread> running;
    for (std::size_t started = 0; started < threads; ++started) {
      running.emplace_back(stack_bytes, page_bytes(), [&] { all_run.arrive_and_wait(); });
    }
    for (const Thread& thread : running) {
      stacks.push_back(stack_of(thread.id()));
    }
    all_run.arrive_and_wait();
  }
  std::size_t kept = 0;
  const std::vector<Mapping> still_mapped = mappings();
  for (const StackPlace& stack : stacks) {
    const auto begin = reinterpret_cast<std::uintptr_t>(stack.begin);
    for (const Mapping& mapping : still_mapped) {
      kept += mapping.begin <= begin && begin < mapping.end ? 1 : 0;
    }
  }
  return kept;
}

}  // namespace

CLAIM(5, "R", "At most 10 stacks of threads that have exited are kept.",
      "glibc keeps as many stacks of threads that have ended "
      "as fit in 40 MiB, guards included, and unmaps the oldest") {
  if (cache_is_tuned()) {
    return skip(tuned);
  }
  // Solaris counts stacks, glibc bytes of address space: 40 MiB, unless
  // GLIBC_TUNABLES=glibc.pthread.stack_cache_size says otherwise. A thread's end that takes the sum
  // over it unmaps, oldest first, until it is under it again; of a stack that is larger alone,
  // nothing is kept, and every such thread costs an mmap and a munmap.
  constexpr std::size_t cache = 40 * MiB;
  const auto fits = [&](std::size_t stack_bytes) { return cache / (stack_bytes + page_bytes()); };
  const std::size_t of_512_KiB = stacks_kept(100, 512 * KiB);
  const std::size_t of_1_MiB = stacks_kept(60, 1 * MiB);
  const std::size_t of_8_MiB = stacks_kept(12, 8 * MiB);
  const std::size_t of_64_MiB = stacks_kept(2, 64 * MiB);
  CHECK(of_512_KiB == fits(512 * KiB));
  CHECK(of_1_MiB == fits(1 * MiB));
  CHECK(of_8_MiB == fits(8 * MiB));
  CHECK(of_64_MiB == 0);
  found(Verdict::never_did,
        "kept: {} of 100 of 512 KiB, {} of 60 of 1 MiB, {} of 12 of 8 MiB, {} of 2 of 64 MiB",
        of_512_KiB, of_1_MiB, of_8_MiB, of_64_MiB);
}

namespace {
thread_local volatile int one_in_each_thread = 1;
}

CLAIM(
    6, "L",
    "The thread's descriptor (struct pthread) and its static TLS live at the top of its own stack.",
    "a thread's descriptor and its thread_local variables lie at the top of its own stack") {
  StackPlace stack;
  const char* descriptor = nullptr;
  const char* variable = nullptr;
  const char* first_frame = nullptr;
  in_thread(1 * MiB, [&] {
    stack = running_stack();
    // To glibc, a pthread_t is the address of the descriptor: all that it knows of the thread.
    // Below that lie the thread_local variables of the program and of the libraries that it was
    // started with ("static TLS"), and then the thread's first frame. They are part of the size
    // that was asked for.
    descriptor = reinterpret_cast<const char*>(pthread_self());
    variable = const_cast<const char*>(reinterpret_cast<volatile char*>(&one_in_each_thread));
    first_frame = static_cast<const char*>(__builtin_frame_address(0));
  });
  CHECK(stack.begin < first_frame);
  CHECK(first_frame < variable);
  CHECK(variable < descriptor);
  CHECK(descriptor < stack.end);
  CHECK(static_cast<std::size_t>(stack.end - variable) < stack.size() / 2);
  found(Verdict::holds,
        "below the upper end: the descriptor by {} bytes, "
        "a thread_local variable by {}, our frame by {}",
        stack.end - descriptor, stack.end - variable, stack.end - first_frame);
}

CLAIM(
    7, "L",
    "Whatever you ask for, NPTL forces a thread's stack "
    "to at most 32 MiB; PTHREAD_STACK_MIN is 16 KiB.",
    "a thread's stack may be larger than 32 MiB, and not smaller than PTHREAD_STACK_MIN, 16 KiB") {
  // NPTL is the thread library that glibc has had since 2003. The one before, LinuxThreads, did cut
  // what was asked for: to RLIMIT_STACK or, where that was unlimited and the processor an x86-64,
  // to 32 MiB.
  constexpr std::size_t large = 256 * MiB;
  std::size_t given = 0;
  int touch_of_lowest_byte = -1;
  in_thread(large, [&] {
    const StackPlace stack = running_stack();
    given = stack.size();
    touch_of_lowest_byte = end_of_touch(stack.begin);
  });
  CHECK(given >= large - page_bytes());  // glibc before 2.35 took the guard out of it
  CHECK(touch_of_lowest_byte == 0);

  // The least: 16 KiB, or as much as the frame of a signal needs (with all of the processor's
  // registers), if that is more.
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  CHECK(pthread_attr_setstacksize(&attributes, 16 * KiB - 1) == EINVAL);
  const auto least = static_cast<std::size_t>(sysconf(_SC_THREAD_STACK_MIN));
  CHECK(least == std::max(16 * KiB, static_cast<std::size_t>(getauxval(AT_MINSIGSTKSZ))));
  CHECK(pthread_attr_setstacksize(&attributes, least) == 0);
  bool ran = false;
  {
    const Thread smallest(attributes, [&] { ran = true; });
  }
  CHECK(ran);
  found(Verdict::never_did,
        "{} MiB asked for, {} MiB given, down to the lowest byte; least size {} KiB", large / MiB,
        given / MiB, least / KiB);
}

namespace {

/// Returns the size of the stack of a thread that was made with default attributes.
std::size_t default_stack_bytes() {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  std::size_t size = 0;
  {
    const Thread thread(attributes, [&] { size = running_stack().size(); });
  }
  return size;
}

/// The default sizes in a program that starts with a limit: before it changes the limit, and after.
struct Defaults {
  std::size_t at_start = 0;
  std::size_t later = 0;
};
Defaults defaults_under(rlim_t limit) {
  const SoftLimit for_the_child(RLIMIT_STACK, limit);
  const Ended ended = run_scenario("thread stacks: default sizes");
  CHECK(ended.exit_code == 0);
  Defaults defaults;
  std::istringstream(ended.out) >> defaults.at_start >> defaults.later;
  return defaults;
}

}  // namespace

GROWSTACK_SCENARIO("thread stacks: default sizes") {
  fmt::print("{}\n", default_stack_bytes());
  const SoftLimit changed(RLIMIT_STACK, 1 * MiB);
  fmt::print("{}\n", default_stack_bytes());
  return 0;
}

CLAIM(8, "L", "A thread's default stack size is the soft RLIMIT_STACK at the start of the program.",
      "a thread's default stack size is the soft RLIMIT_STACK "
      "at the start of the program, or 2 MiB if that is unlimited") {
  const rlimit limit = limits_of(RLIMIT_STACK);
  if (limit.rlim_max < 6 * MiB) {
    return skip("the hard RLIMIT_STACK is below 6 MiB");
  }
  // What `ulimit -s` shows is meant for the stack of the main thread, which grows up to it. glibc
  // reads it once, when the program starts, and takes it for the size of the stacks of all other
  // threads, which do not grow.
  const Defaults three = defaults_under(3 * MiB);
  CHECK(three.at_start == 3 * MiB);
  CHECK(three.later == 3 * MiB);
  const Defaults six = defaults_under(6 * MiB);
  CHECK(six.at_start == 6 * MiB);
  CHECK(six.later == 6 * MiB);
  // "Unlimited" is no size. glibc has a size of its own for this case, a different one for each
  // kind of processor.
  std::string unlimited = "not tried, as the hard limit is not";
  if (limit.rlim_max == RLIM_INFINITY) {
    const Defaults none = defaults_under(RLIM_INFINITY);
    CHECK(none.at_start == 2 * MiB);
    CHECK(none.later == 2 * MiB);
    unlimited = fmt::format("{} MiB", none.at_start / MiB);
  }
  found(Verdict::holds,
        "limit 3 MiB: {} MiB, 6 MiB: {} MiB, unlimited: {}; the same after the limit was changed",
        three.at_start / MiB, six.at_start / MiB, unlimited);
}

CLAIM(9, "S", "glibc allocates thread stacks with MAP_GROWSDOWN.",
      "glibc maps all of a thread's stack at once, and only the main thread's stack grows down") {
  // MAP_GROWSDOWN makes a mapping that the kernel extends when it is touched below its begin, as it
  // does with the main thread's stack. smaps says gd of it. LinuxThreads, glibc's first thread
  // library, mapped its stacks so in its early versions. But nothing keeps the room below free:
  // other memory may be mapped there, and the stack cannot grow any more. So later libraries map
  // the whole size.
  Mapping stack;
  in_thread(1 * MiB, [&] { stack = mapping_of(running_stack().begin); });
  const char here = 0;
  const Mapping of_main = mapping_of(&here);
  CHECK_FALSE(stack.has_flag("gd"));
  CHECK(of_main.has_flag("gd"));
  found(Verdict::no_longer, "flags in smaps: {}(a thread's stack), {}(the main thread's)",
        stack.flags, of_main.flags);
}

CLAIM(10, "R",
      "Thread stacks are reserved without swap (MAP_NORESERVE): "
      "they are not charged until they are used.",
      "a thread's stack is charged in full when it is made, whether it is used or not") {
  // The kernel may promise more memory than there is, and keeps an account of what it has promised:
  // Committed_AS in /proc/meminfo. Private memory that may be written is charged in full when it is
  // mapped (smaps: ac), since each page of it may be needed, and swap is where it would go. With
  // vm.overcommit_memory=2 the sum has a limit, and mmap fails there. MAP_NORESERVE asks for memory
  // without that promise (smaps: nr); glibc does not use it.
  constexpr std::size_t asked = 8 * MiB;
  std::size_t size = 0;
  std::size_t charged = 0;
  std::size_t resident = 0;
  std::size_t charged_for_guard = 0;
  in_thread(asked, [&] {
    const StackPlace stack = running_stack();
    size = stack.size();
    charged = charged_bytes(stack.begin, stack.end);
    resident = resident_bytes(stack.begin, stack.size());
    const Mapping below = mapping_of(stack.begin - 1);
    charged_for_guard = below.protection == "---p" && below.has_flag("ac") ? below.size() : 0;
  });
  CHECK(charged == size);
  CHECK(resident < size / 2);
  CHECK(charged_for_guard == 0);  // what may not be written will not need a page

  // What it would be with MAP_NORESERVE, which the kernel ignores if it is told never to promise
  // too much.
  const bool never_too_much = number_in("/proc/sys/vm/overcommit_memory") == 2;
  char* const reserved = map_memory(asked, MAP_NORESERVE);
  const std::size_t charged_for_reserved = charged_bytes(reserved, reserved + asked);
  CHECK(charged_for_reserved == (never_too_much ? asked : 0));
  munmap(reserved, asked);
  found(Verdict::never_did,
        "stack of {} KiB, {} KiB resident: {} KiB charged; MAP_NORESERVE: {} KiB", size / KiB,
        resident / KiB, charged / KiB, charged_for_reserved / KiB);
}

namespace {

/// Looks for two stacks with nothing between them but the guard of the upper one. Returns how a
/// child of the thread on the upper one ends that writes a byte `distance` below its stack.
int end_of_touch_below(std::size_t guard_bytes, std::size_t distance) {
  constexpr std::size_t threads = 8;
  std::array<StackPlace, threads> stacks;
  std::size_t upper = threads;
  int end = -1;
  std::barrier step(threads + 1);
  std::list<Thread> running;
  for (std::size_t index = 0; index < threads; ++index) {
    running.emplace_back(1 * MiB, guard_bytes, [&, index] {
      step.arrive_and_wait();
      if (index == upper) {
        // A function does such a write if its local variables are larger than the guard and it
        // writes to the lowest of them first.
        end = end_of_touch(stacks[index].begin - distance);
      }
      step.arrive_and_wait();
    });
  }
  std::size_t index = 0;
  for (const Thread& thread : running) {
    stacks[index] = stack_of(thread.id());
    ++index;
  }
  for (std::size_t above = 0; above < threads; ++above) {
    for (const StackPlace& below : stacks) {
      if (below.end == stacks[above].begin - guard_bytes) {
        upper = above;
      }
    }
  }
  step.arrive_and_wait();
  step.arrive_and_wait();
  return end;
}

}  // namespace

CLAIM(11, "R",
      "A guard larger than one page is wasted, because mmap leaves a red zone around mappings.",
      "mmap puts mappings side by side without a red zone, "
      "so what lies beyond a guard may be another thread's stack") {
  // The kernel puts a new mapping right below the one before, if there is room. Only mappings that
  // grow down keep a distance: the main thread's stack stops growing 1 MiB (the kernel's parameter
  // stack_guard_gap) above memory that can be touched. A thread's stack has its guard, and right
  // below the guard comes whatever was mapped next.
  const std::size_t distance = page_bytes() + 1;
  constexpr std::size_t wide = 64 * KiB;
  const int in_the_guard = end_of_touch_below(page_bytes(), page_bytes());
  const int beyond_the_guard = end_of_touch_below(page_bytes(), distance);
  const int with_wide_guard = end_of_touch_below(wide, distance);
  CHECK(in_the_guard == segmentation_fault);
  CHECK(beyond_the_guard == 0);  // another thread's stack was written to, and nobody noticed
  CHECK(with_wide_guard == segmentation_fault);
  found(Verdict::never_did,
        "a write {} bytes below a stack: {} if the guard is one page, {} if it is {} KiB", distance,
        beyond_the_guard == 0 ? "lands in another thread's stack" : "fails",
        with_wide_guard == segmentation_fault ? "SIGSEGV" : "is not noticed", wide / KiB);
}

CLAIM(12, "R",
      "The memory given to pthread_attr_setstack is used exactly as given: "
      "no guard is added, nothing is freed for you.",
      "the memory given to pthread_attr_setstack is used exactly as given, "
      "with no guard, and nothing of it is freed") {
  constexpr std::size_t size = 1 * MiB;
  constexpr std::size_t room_below = 64 * KiB;
  char* const memory = map_memory(room_below + size);
  char* const given = memory + room_below;
  std::memset(memory, 7, room_below);

  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setguardsize(&attributes, 16 * page_bytes());
  REQUIRE(pthread_attr_setstack(&attributes, given, size) == 0);
  StackPlace stack;
  int touch_below = -1;
  std::size_t when_running = 0;
  {
    const Thread thread(attributes, [&] {
      stack = running_stack();
      touch_below = end_of_touch(given - 1);
      descend_to(reinterpret_cast<std::uintptr_t>(given), page_bytes());
      when_running = resident_bytes(given, size);
    });
  }
  CHECK(stack.begin == given);
  CHECK(stack.size() == size);
  CHECK(touch_below == 0);  // the guard size that was set counts for nothing
  CHECK(when_running == size);
  // Not even the pages are given back when the thread ends, as they are for a stack of glibc's own.
  const std::vector<Mapping> pieces = mappings_in(memory, memory + room_below + size);
  REQUIRE(pieces.size() == 1);
  CHECK(pieces[0].size() == room_below + size);
  CHECK(pieces[0].protection == "rw-p");
  const std::size_t left = resident_bytes(given, size);
  CHECK(left == size);
  munmap(memory, room_below + size);
  found(Verdict::holds,
        "{} KiB given: stack of {} KiB, the byte below "
        "it can be written, {} KiB resident after the end",
        size / KiB, stack.size() / KiB, left / KiB);
}
