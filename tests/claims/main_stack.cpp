// The main thread's stack, which the kernel makes and grows by itself.
//
// The C library maps the stacks of all other threads in full (thread_stacks.cpp). The kernel makes
// the main thread's stack when it starts the program: execve(2) puts the arguments and the
// environment at the upper end of a small mapping, [stack] in /proc/self/smaps. When the processor
// is told to touch memory that is not there, it stops and asks the kernel: a page fault. If the
// touch was below this mapping, the kernel decides whether to extend it.
//
// Only a fresh process shows how a main thread's stack begins and how it ends. So most of this
// happens in scenarios: functions that this executable runs when it is started anew. They print
// numbers, and the claims read them.
#include "claims/claim.hpp"
#include "claims/look.hpp"
#include "support/descend.hpp"
#include "support/forked.hpp"
#include "support/limits.hpp"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace growstack::testing;

namespace {

/// Returns the numbers that a scenario printed.
std::vector<std::size_t> numbers_in(const Ended& ended, std::size_t how_many) {
  REQUIRE_MESSAGE(ended.exit_code == 0, ended.err);
  std::istringstream out(ended.out);
  std::vector<std::size_t> numbers;
  for (std::size_t number = 0; out >> number;) {
    numbers.push_back(number);
  }
  REQUIRE(numbers.size() == how_many);
  return numbers;
}

/// Returns the main thread's stack as it is now. Another thread reads /proc/self/smaps, so that the
/// reading does not touch this stack.
Mapping main_stack() {
  Mapping stack;
  const char here = 0;
  std::thread([&] { stack = mapping_of(&here); }).join();
  return stack;
}

/// Sets the soft RLIMIT_STACK. Throws if the hard limit is lower.
void limit_stack_to(rlim_t bytes) {
  if (!set_soft_limit(RLIMIT_STACK, bytes)) {
    throw std::system_error(errno, std::generic_category(), "setrlimit");
  }
}

/// Returns whether limit_stack_to() can set the limit.
bool may_limit_stack_to(std::size_t bytes) { return bytes <= limits_of(RLIMIT_STACK).rlim_max; }

/// Has this process use small pages only. Where huge pages are switched on for everything, the
/// kernel may otherwise fill 2 MiB at a touch.
void small_pages_only() { prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); }

void touch(std::uintptr_t address) { *reinterpret_cast<volatile char*>(address) = 1; }

std::uintptr_t page_of(std::uintptr_t address) { return address / page_bytes() * page_bytes(); }

/// Returns how many bytes of [begin, end) are resident.
std::size_t resident_between(std::uintptr_t begin, std::uintptr_t end) {
  return resident_bytes(reinterpret_cast<const void*>(begin), end - begin);
}

constexpr const char* low_hard_limit = "the hard RLIMIT_STACK is too low";

}  // namespace

GROWSTACK_SCENARIO("main stack: at first") {
  const Mapping stack = main_stack();
  fmt::print("{} {}\n", stack.size(), stack.resident);
  return 0;
}

CLAIM(
    13, "R, L",
    "R: the main thread's stack has 2 to 4 resident pages at main(). "
    "L: it starts as one page of address space.",
    "the main thread's stack has a few resident pages at main and some 132 KiB of address space") {
  // What is resident at main() are the arguments, and what the dynamic loader and the C library
  // used on this stack before. Up to Linux 2.6.22 the mapping was as large as the arguments needed,
  // often one page. Since then execve adds address space below them, 128 KiB today, unless
  // RLIMIT_STACK is less.
  if (!may_limit_stack_to(4 * MiB)) {
    return skip(low_hard_limit);
  }
  const SoftLimit for_the_child(RLIMIT_STACK, 4 * MiB);
  char** const environment = environ;
  environ = nullptr;  // a large environment would fill pages as well
  const Ended ended = run_scenario("main stack: at first");
  environ = environment;
  const std::vector<std::size_t> seen = numbers_in(ended, 2);
  const std::size_t size = seen[0];
  const std::size_t resident = seen[1];
  CHECK(size >= 128 * KiB + page_bytes());
  CHECK(size <= 128 * KiB + 4 * page_bytes());
  CHECK(resident >= page_bytes());
  CHECK(resident <= 8 * page_bytes());
  found(Verdict::no_longer,
        "R holds: {1} pages resident at main; L no longer: {0} KiB of address space", size / KiB,
        resident / page_bytes());
}

GROWSTACK_SCENARIO("main stack: a far touch") {
  constexpr std::size_t limit = 4 * MiB;
  small_pages_only();
  limit_stack_to(limit);
  const Mapping before = main_stack();
  const std::uintptr_t lowest = before.end - limit;
  touch(lowest);
  const Mapping after = main_stack();
  fmt::print("{} {} {}\n", after.size(), before.begin - after.begin,
             resident_between(after.begin, before.begin));
  return 0;
}

CLAIM(14, "R",
      "Touching the lowest address of the stack faults in "
      "everything between that and what was used before.",
      "touching the lowest address of the main thread's stack "
      "maps everything between and makes one page resident") {
  // The kernel moves the begin of the mapping down to the page that was touched, which costs
  // nothing but the address space, and then fills this one page, as with any mapping.
  if (!may_limit_stack_to(4 * MiB)) {
    return skip(low_hard_limit);
  }
  const std::vector<std::size_t> seen = numbers_in(run_scenario("main stack: a far touch"), 3);
  const std::size_t size = seen[0];
  const std::size_t grown = seen[1];
  const std::size_t resident = seen[2];
  CHECK(size == 4 * MiB);
  CHECK(grown > 3 * MiB);
  CHECK(resident == page_bytes());
  found(Verdict::never_did, "grown by {} KiB to {} KiB, of the new part {} page resident",
        grown / KiB, size / KiB, resident / page_bytes());
}

namespace {

constexpr std::size_t array_bytes = 200 * KiB;

/// Writes the first byte of the array, and returns how many bytes of it are resident. Only whole
/// pages are counted, so that nothing else is in them.
std::size_t resident_after_one_touch(char* array) {
  static_cast<volatile char*>(array)[0] = 1;
  const auto begin = reinterpret_cast<std::uintptr_t>(array);
  return resident_between(page_of(begin), page_of(begin + array_bytes));
}

// GCC can compile a single function with an option, or without one that a distribution has made the
// default.
#if defined(__clang__)
constexpr bool options_for_functions = false;
#define WITH_OPTION(option) gnu::noinline
#else
constexpr bool options_for_functions = true;
#define WITH_OPTION(option) gnu::noipa, gnu::optimize(option)
#endif

/// Has an array that begins where the stack pointer is. The rest of the array lies above.
[[WITH_OPTION("no-stack-clash-protection")]] std::size_t with_large_array() {
  std::array<char, array_bytes> array;
  asm volatile("" : : "r"(array.data()) : "memory");
  return resident_after_one_touch(array.data());
}

[[WITH_OPTION("stack-clash-protection")]] std::size_t with_large_array_probed() {
  std::array<char, array_bytes> array;
  asm volatile("" : : "r"(array.data()) : "memory");
  return resident_after_one_touch(array.data());
}

}  // namespace

GROWSTACK_SCENARIO("main stack: a large array") {
  small_pages_only();
  limit_stack_to(4 * MiB);
  std::size_t plain = 0;
  std::size_t probed = 0;
  at_stack_pointer(GROWSTACK_HERE - 1 * MiB, [&] { plain = with_large_array(); });
  at_stack_pointer(GROWSTACK_HERE - 2 * MiB, [&] { probed = with_large_array_probed(); });
  fmt::print("{} {}\n", plain, probed);
  return 0;
}

CLAIM(15, "R", "A local array of 200 KB whose first byte is touched is resident as a whole.",
      "of a local array of 200 KiB whose first byte is touched, one page is resident") {
  // A function makes room for its local variables by moving the stack pointer, which touches
  // nothing. So only that part of the array is there that was written. This is different with
  // -fstack-clash-protection, a default of some distributions: then the function touches each page
  // on the way down, so that it cannot jump over a guard.
  if (!may_limit_stack_to(4 * MiB)) {
    return skip(low_hard_limit);
  }
  const std::vector<std::size_t> seen = numbers_in(run_scenario("main stack: a large array"), 2);
  const std::size_t plain = seen[0];
  const std::size_t probed = seen[1];
  CHECK(plain == page_bytes());
  std::string when_probed = "not tried with this compiler";
  if (options_for_functions) {
    CHECK(probed >= array_bytes - page_bytes());  // whole pages: the array need not begin with one
    when_probed = fmt::format("{} KiB", probed / KiB);
  }
  found(Verdict::never_did,
        "{} KiB of 200 KiB resident; when compiled with -fstack-clash-protection: {}", plain / KiB,
        when_probed);
}

GROWSTACK_SCENARIO("main stack: what stays") {
  constexpr std::size_t depth = 1 * MiB;
  small_pages_only();
  limit_stack_to(4 * MiB);
  const std::uintptr_t above = page_of(GROWSTACK_HERE - 64 * KiB);  // well below all frames in use
  const std::size_t at_first = main_stack().size();
  descend(depth);
  const std::size_t deep = main_stack().size();
  const std::uintptr_t begin = main_stack().begin;
  const std::size_t after_return = resident_between(begin, above);
  // Nothing that a program usually does changes that.
  usleep(20'000);
  const std::size_t later = resident_between(begin, above);
  // But it can give these pages back, except what frames above still need.
  madvise(reinterpret_cast<void*>(begin), above - begin, MADV_DONTNEED);
  const std::size_t given_back = resident_between(begin, above);
  fmt::print("{} {} {} {} {} {} {}\n", at_first, deep, above - begin, after_return, later,
             given_back, main_stack().size());
  return 0;
}

CLAIM(16, "R, L",
      "R: pages of the stack stay resident after the "
      "function returns. L: the stack shrinks by itself.",
      "the main thread's stack keeps its size and its pages "
      "after the function returns and never shrinks by itself") {
  // A return moves the stack pointer up, and the kernel looks at that register only at a fault. So
  // the stack keeps the size that it has grown to until the process ends. madvise(2) can give the
  // memory back, but even then the address space stays part of the mapping.
  if (!may_limit_stack_to(4 * MiB)) {
    return skip(low_hard_limit);
  }
  const std::vector<std::size_t> seen = numbers_in(run_scenario("main stack: what stays"), 7);
  const std::size_t size_at_first = seen[0];
  const std::size_t size_when_deep = seen[1];
  const std::size_t used = seen[2];
  const std::size_t after_return = seen[3];
  const std::size_t later = seen[4];
  const std::size_t given_back = seen[5];
  const std::size_t size_at_last = seen[6];
  CHECK(size_when_deep > size_at_first);
  CHECK(after_return == used);
  CHECK(later == used);
  CHECK(given_back == 0);
  CHECK(size_at_last == size_when_deep);
  found(Verdict::never_did,
        "R holds, L never did: {} of {} KiB resident after the return, "
        "{} after madvise, mapping of {} KiB",
        later / KiB, used / KiB, given_back / KiB, size_at_last / KiB);
}

namespace {

constexpr int segmentation_fault = killed_by(SIGSEGV);

/// Returns how a child ends that sets that limit and touches the lowest byte of a stack of that
/// size.
int end_of_stack(std::uintptr_t end, std::size_t limit, std::size_t size) {
  return end_of_child([=] {
    no_core();
    limit_stack_to(limit);
    touch(end - size);
    return 0;
  });
}

}  // namespace

GROWSTACK_SCENARIO("main stack: growth and its limit") {
  // A forked child has a copy of this stack, of the same size, with the same room below it.
  const std::uintptr_t end = main_stack().end;
  const int within = end_of_stack(end, 2 * MiB, 2 * MiB);
  const int beyond = end_of_stack(end, 2 * MiB, 2 * MiB + 1);
  const int raised = end_of_child([=] {
    limit_stack_to(2 * MiB);
    touch(end - 2 * MiB);
    limit_stack_to(4 * MiB);
    touch(end - 4 * MiB);
    return 0;
  });
  const int lowered = end_of_child([=] {
    limit_stack_to(4 * MiB);
    touch(end - 2 * MiB);
    limit_stack_to(1 * MiB);
    touch(end - 2 * MiB + page_bytes());  // not touched before, but mapped
    return 0;
  });
  const int lowered_and_beyond = end_of_child([=] {
    no_core();
    limit_stack_to(4 * MiB);
    touch(end - 2 * MiB);
    limit_stack_to(1 * MiB);
    touch(end - 2 * MiB - 1);
    return 0;
  });
  fmt::print("{} {} {} {} {}\n", within, beyond, raised, lowered, lowered_and_beyond);
  return 0;
}

CLAIM(17, "L",
      "Growth is refused beyond RLIMIT_STACK, "
      "read at the time of the fault; changing it takes effect at once.",
      "the main thread's stack grows up to RLIMIT_STACK "
      "as it is at the time of the fault, to the byte") {
  // At a touch below the mapping the kernel compares what its size would be, arguments and all,
  // with the soft limit. It does so only then: what is mapped already stays usable when the limit
  // is lowered. (Where mmap puts other memory was decided by the limit at the start of the program,
  // so a limit raised by very much may find the room taken.)
  if (!may_limit_stack_to(4 * MiB)) {
    return skip(low_hard_limit);
  }
  const std::vector<std::size_t> ends =
      numbers_in(run_scenario("main stack: growth and its limit"), 5);
  CHECK(ends[0] == 0);
  CHECK(ends[1] == segmentation_fault);
  CHECK(ends[2] == 0);
  CHECK(ends[3] == 0);
  CHECK(ends[4] == segmentation_fault);
  found(Verdict::holds,
        "limit 2 MiB: the 2097152nd byte {}, the next one {}; 4 MiB after raising it: {}",
        ends[0] == 0 ? "is written" : "fails",
        ends[1] == segmentation_fault ? "is SIGSEGV" : "is written",
        ends[2] == 0 ? "written" : "fails");
}

namespace {

constexpr std::size_t small_stack = 1 * MiB;

[[noreturn]] void overflow() {
  limit_stack_to(small_stack);
  descend(2 * small_stack);
  _exit(1);  // not reached
}

sigjmp_buf back_in_main;

void say_so(int /*signal*/) {
  static constexpr std::string_view words = "handled";
  (void)!write(STDOUT_FILENO, words.data(), words.size());
  siglongjmp(back_in_main, 1);
}

void handle_segmentation_fault(int flags) {
  struct sigaction action {};
  action.sa_handler = say_so;
  action.sa_flags = flags;
  sigaction(SIGSEGV, &action, nullptr);
}

/// Returns whether a core dump becomes a file in the current directory: then core_pattern is a
/// plain name, and neither a path nor a program to run.
bool core_is_a_plain_file() {
  std::ifstream file("/proc/sys/kernel/core_pattern");
  std::string pattern;
  std::getline(file, pattern);
  return !pattern.empty() && pattern.find_first_of("/|") == std::string::npos;
}

}  // namespace

GROWSTACK_SCENARIO("main stack: overflow without a core") {
  no_core();
  overflow();
}

GROWSTACK_SCENARIO("main stack: overflow with a core") {
  raise_soft_limit(RLIMIT_CORE);
  overflow();
}

GROWSTACK_SCENARIO("main stack: overflow with a handler") {
  no_core();
  handle_segmentation_fault(0);
  overflow();
}

GROWSTACK_SCENARIO("main stack: overflow with a handler on an alternate stack") {
  no_core();
  static std::array<char, 64 * KiB> memory;
  const stack_t alternate{.ss_sp = memory.data(), .ss_flags = 0, .ss_size = memory.size()};
  sigaltstack(&alternate, nullptr);
  handle_segmentation_fault(SA_ONSTACK);
  static int volatile times = 0;
  sigsetjmp(back_in_main, 1);  // the handler jumps here, which unblocks the signals again
  if (times < 2) {
    times = times + 1;
    overflow();
  }
  return 0;
}

CLAIM(18, "L", "Overflow means SIGSEGV and a core dump; on an alternate stack it can be caught.",
      "overflow is SIGSEGV, with a core dump if the limit allows one, "
      "and can be caught on an alternate stack only") {
  // If growth is refused, the fault becomes SIGSEGV, which by default ends the process with a core
  // dump. RLIMIT_CORE decides about the core dump: most systems set it to 0, or hand the dump to a
  // program.
  if (!may_limit_stack_to(4 * MiB)) {
    return skip(low_hard_limit);
  }
  const Ended plain = run_scenario("main stack: overflow without a core");
  CHECK(plain.signal == SIGSEGV);
  std::string core = "not tried, as core_pattern names a path or a program";
  if (core_is_a_plain_file() && limits_of(RLIMIT_CORE).rlim_max >= 64 * MiB) {
    CHECK_FALSE(plain.dumped_core);
    const std::filesystem::path before = std::filesystem::current_path();
    std::string folder = std::filesystem::temp_directory_path() / "growstack-core-XXXXXX";
    REQUIRE(mkdtemp(folder.data()) != nullptr);
    std::filesystem::current_path(folder);
    const Ended dumped = run_scenario("main stack: overflow with a core");
    std::filesystem::current_path(before);
    CHECK(dumped.signal == SIGSEGV);
    CHECK(dumped.dumped_core);
    CHECK_FALSE(std::filesystem::is_empty(folder));
    std::filesystem::remove_all(folder);
    core = "with RLIMIT_CORE, none without";
  }

  // A handler needs a stack, too. The kernel puts the signal's frame on the one that has just
  // overflowed, finds no room, and ends the process. With sigaltstack(2) and SA_ONSTACK it uses
  // other memory, and the handler runs. If it returned, the same instruction would fault again.
  // This one jumps back to where the stack was still short, twice.
  const Ended on_same_stack = run_scenario("main stack: overflow with a handler");
  CHECK(on_same_stack.signal == SIGSEGV);
  CHECK(on_same_stack.out.empty());
  const Ended on_alternate_stack =
      run_scenario("main stack: overflow with a handler on an alternate stack");
  CHECK(on_alternate_stack.exit_code == 0);
  CHECK(on_alternate_stack.out == "handledhandled");
  found(Verdict::holds,
        "SIGSEGV; core dump: {}; a handler on the same stack did not run, one on another ran twice",
        core);
}
