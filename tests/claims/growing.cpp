// Growing by fault: a stack that gets its memory when it is touched, from a program that is told of
// each touch.
//
// Address space without permissions (PROT_NONE) costs nothing, but a touch of it is SIGSEGV. A
// program may handle that signal: it gives the page its permissions and returns. Then the
// instruction is executed again, and finds memory. This is how most of growstack's strategies work.
// Here a few lines do it, to see what is true of it and what is not. The library is there for all
// that these lines leave out.
#include "claims/claim.hpp"
#include "claims/look.hpp"
#include "claims/median.hpp"
#include "support/descend.hpp"
#include "support/forked.hpp"

#include <growstack/growstack.hpp>

#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace growstack::testing;

namespace {

// ---- a handler that grows -----------------------------------------------------------------------

// A signal handler gets no argument of ours, so what it needs is in variables of the program.
char* reserved = nullptr;  // address space without permissions
std::size_t reserved_size = 0;
std::size_t page_size = 0;
std::atomic<int> growths{0};

void reserve(std::size_t size) {
  page_size = page_bytes();
  void* const memory = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  reserved = static_cast<char*>(memory);
  reserved_size = size;
  growths = 0;
}

/// Makes the page of an address usable.
void open_page_of(const void* address) {
  const std::uintptr_t page = reinterpret_cast<std::uintptr_t>(address) / page_size * page_size;
  if (mprotect(reinterpret_cast<void*>(page), page_size, PROT_READ | PROT_WRITE) != 0) {
    _exit(102);  // the instruction would fault for ever
  }
  ++growths;
}

void grow_in_handler(int signal, siginfo_t* info, void*) {
  const auto* const address = static_cast<const char*>(info->si_addr);
  if (address < reserved || address >= reserved + reserved_size) {
    // Not ours: the instruction faults again, and the process dies as it should.
    std::signal(signal, SIG_DFL);
    return;
  }
  open_page_of(address);
}

using SignalHandler = void (*)(int, siginfo_t*, void*);

void handle_faults_with(SignalHandler handler) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  REQUIRE(sigaction(SIGSEGV, &action, nullptr) == 0);
}

/// Gives this thread a stack for the handler (SA_ONSTACK above), because the handler cannot run on
/// the stack that has no room.
void use_alternate_stack() {
  constexpr std::size_t size = 64 * KiB;
  static std::array<char, size> room;
  const stack_t alternate{.ss_sp = room.data(), .ss_flags = 0, .ss_size = size};
  REQUIRE(sigaltstack(&alternate, nullptr) == 0);
}

/// Runs body() with all of `reserved` as its stack.
void run_on_reserved(void (*body)()) {
  ucontext_t here;
  ucontext_t there;
  getcontext(&there);
  there.uc_stack = {.ss_sp = reserved, .ss_flags = 0, .ss_size = reserved_size};
  there.uc_link = &here;  // where to go on when body returns
  makecontext(&there, body, 0);
  swapcontext(&here, &there);
}

std::size_t wrong_bytes = 0;

/// Goes down to the last page but one, with a pattern in each frame that is read on the way back.
void descend_through_reserved() {
  wrong_bytes = descend_to(reinterpret_cast<std::uintptr_t>(reserved) + page_size, 2 * KiB);
}

// ---- a handler that uses mmap at any moment -----------------------------------------------------

std::atomic<int> interruptions{0};
std::atomic<int> failures{0};

/// Maps a page, uses it, makes it read-only, and unmaps it.
void use_every_call() {
  const std::size_t size = page_size;
  void* const memory =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    ++failures;
    return;
  }
  *static_cast<volatile char*>(memory) = 1;
  failures += mprotect(memory, size, PROT_READ) == 0 && munmap(memory, size) == 0 ? 0 : 1;
}

void interrupt_with_every_call(int) {
  const int saved = errno;
  use_every_call();
  ++interruptions;
  errno = saved;
}

}  // namespace

CLAIM(29, "S", "mmap and mprotect cannot be called in a signal handler.",
      "mmap and mprotect work in a signal handler, although POSIX does not list them") {
  // A whole stack is made of nothing but address space, page by page, by the handler's mprotect. It
  // is made in a child, which keeps the handler to itself. Its exit code is 0 if all went well.
  constexpr std::size_t size = MiB;
  const std::size_t pages = size / page_bytes();
  const int stack_in_child = end_of_child([&] {
    reserve(size);
    use_alternate_stack();
    handle_faults_with(grow_in_handler);
    run_on_reserved(descend_through_reserved);
    const auto opened = static_cast<std::size_t>(growths.load());
    return wrong_bytes == 0 && opened >= pages - 2 && opened <= pages ? 0 : 1;
  });
  CHECK(stack_in_child == 0);

  // That handler ran where the program touched memory. The next one interrupts anywhere, again and
  // again, while the program makes the same calls, and allocates and frees memory. The kernel runs
  // a handler only on its way back to the program, and so never in the middle of the thread's own
  // mmap while that holds locks. In the C library these calls are a single instruction, without a
  // lock. (malloc is different: it has locks, and must not be called in a handler.)
  constexpr int wanted = 200;
  const int interrupted_in_child = end_of_child([&] {
    page_size = page_bytes();
    std::signal(SIGUSR1, interrupt_with_every_call);
    const pthread_t interrupted = pthread_self();
    std::thread interrupting([&] {
      while (interruptions < wanted) {
        pthread_kill(interrupted, SIGUSR1);
        std::this_thread::sleep_for(std::chrono::microseconds(20));
      }
    });
    while (interruptions < wanted) {
      use_every_call();
      // Comes from mmap, or from the heap, which brk enlarges.
      void* volatile block = std::malloc(300 * KiB);
      std::free(block);
    }
    interrupting.join();
    return failures == 0 ? 0 : 1;
  });
  CHECK(interrupted_in_child == 0);
  found(Verdict::never_did,
        "a stack of {} KiB was made page by page in a handler; "
        "{} interruptions of mmap and malloc by mmap, mprotect and munmap: no failure",
        size / KiB, wanted);
}

namespace {

// ---- a handler that asks ------------------------------------------------------------------------

std::array<int, 2> requests{};
std::array<int, 2> replies{};

/// Writes the address to a pipe, and waits until another thread has done the rest. POSIX lists what
/// a signal handler may call, and read and write are on that list.
void ask_helper(int, siginfo_t* info, void*) {
  const int saved = errno;
  char done = 0;
  if (write(requests[1], &info->si_addr, sizeof info->si_addr) != sizeof info->si_addr ||
      read(replies[0], &done, 1) != 1) {
    _exit(103);
  }
  errno = saved;
}

/// Is what the other thread runs. It is no handler, so it may call any function.
void help() {
  void* address = nullptr;
  while (read(requests[0], &address, sizeof address) == sizeof address) {
    open_page_of(address);
    if (write(replies[1], "", 1) != 1) {
      _exit(104);
    }
  }
}

double nanoseconds_of_touch(char* place) {
  const auto before = std::chrono::steady_clock::now();
  *static_cast<volatile char*>(place) = 1;
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - before)
      .count();
}

}  // namespace

CLAIM(30, "S", "A pipe and a helper thread make a stack grow with listed functions only.",
      "a pipe and a helper thread make a stack grow with "
      "listed functions only, for a multiple of the cost") {
  // Both ways are bare minima here. growstack's strategies pipe_helper and in_handler are the real
  // ones. They know whose page it is, take more than a page at a time, and survive fork, full pipes
  // and a helper that has ended.
  constexpr std::size_t size = MiB;
  const std::size_t pages = size / page_bytes();
  std::array<int, 2> ratio{};
  REQUIRE(pipe(ratio.data()) == 0);
  const int in_child = end_of_child([&] {
    if (pipe(requests.data()) != 0 || pipe(replies.data()) != 0) {
      return 2;
    }
    std::thread helper(help);
    use_alternate_stack();
    handle_faults_with(ask_helper);
    reserve(size);
    run_on_reserved(descend_through_reserved);
    const auto opened = static_cast<std::size_t>(growths.load());
    const bool right = wrong_bytes == 0 && opened >= pages - 2 && opened <= pages;

    // The two ways serve pages in turns.
    reserve(size);
    std::vector<double> asking;
    std::vector<double> directly;
    for (std::size_t page = 0; page + 1 < pages; page += 2) {
      handle_faults_with(ask_helper);
      asking.push_back(nanoseconds_of_touch(reserved + page * page_size));
      handle_faults_with(grow_in_handler);
      directly.push_back(nanoseconds_of_touch(reserved + (page + 1) * page_size));
    }
    close(requests[1]);  // ends the helper
    helper.join();
    const double found_ratio = median(asking) / median(directly);
    return right && write(ratio[1], &found_ratio, sizeof found_ratio) == sizeof found_ratio ? 0 : 1;
  });
  REQUIRE(in_child == 0);
  double found_ratio = 0;
  REQUIRE(read(ratio[0], &found_ratio, sizeof found_ratio) == sizeof found_ratio);
  found(Verdict::holds,
        "a stack of {} KiB was made page by page through a pipe; "
        "a fault costs {:.1f} times as much as with mprotect in the handler",
        size / KiB, found_ratio);
}

namespace {

// ---- the kernel touches -------------------------------------------------------------------------

char* without_permissions = nullptr;
char* in_order = nullptr;
std::atomic<int> handler_calls{0};

void count_and_open(int, siginfo_t* info, void*) {
  ++handler_calls;
  open_page_of(info->si_addr);
}

/// Calls fetch(address), which makes a system call that puts data at the address. First the call
/// fails, because the address has no permissions. Returns whether the data is still there for an
/// address that has them.
template <class Fetch>
bool survives(const Fetch& fetch) {
  errno = 0;
  CHECK(fetch(without_permissions) == -1);
  CHECK(errno == EFAULT);
  return fetch(in_order) > 0;
}

}  // namespace

CLAIM(31, "S",
      "Growing by fault works as well when the kernel touches the memory, in read() for instance.",
      "a system call that meets memory without permissions "
      "fails with EFAULT, no handler runs, and some data is lost") {
  page_size = page_bytes();
  void* const memory = mmap(nullptr, page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  without_permissions = static_cast<char*>(memory);
  // Nobody has touched this either. But it may be written, so the kernel fills it for itself.
  in_order = map_memory(page_size);
  use_alternate_stack();
  struct sigaction before {};
  sigaction(SIGSEGV, nullptr, &before);
  handle_faults_with(count_and_open);

  // A signal tells a program that it did what it may not do. In a system call the kernel touches
  // the memory, and it can say so by a return value: EFAULT. By then some calls have already taken
  // what they were to deliver.
  std::array<int, 2> ends{};
  REQUIRE(pipe(ends.data()) == 0);
  REQUIRE(write(ends[1], "data", 4) == 4);
  CHECK(survives([&](char* place) { return read(ends[0], place, 4); }));

  std::array<int, 2> stream{};
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, stream.data()) == 0);
  REQUIRE(write(stream[1], "data", 4) == 4);
  CHECK(survives([&](char* place) { return read(stream[0], place, 4); }));

  // Streams keep what they could not deliver. What comes as a whole is lost.
  std::array<int, 2> datagrams{};
  REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM, 0, datagrams.data()) == 0);
  REQUIRE(write(datagrams[1], "data", 4) == 4);
  CHECK(!survives([&](char* place) { return recv(datagrams[0], place, 4, MSG_DONTWAIT); }));
  CHECK(errno == EAGAIN);  // nothing is there

  const int count = eventfd(7, EFD_NONBLOCK);
  REQUIRE(count >= 0);
  CHECK(!survives([&](char* place) { return read(count, place, sizeof(std::uint64_t)); }));
  CHECK(errno == EAGAIN);

  const pid_t child = fork();
  if (child == 0) {
    _exit(0);
  }
  CHECK(!survives([&](char* place) { return waitpid(child, reinterpret_cast<int*>(place), 0); }));
  CHECK(errno == ECHILD);  // nobody will know how it ended

  sigset_t awaited;
  sigemptyset(&awaited);
  sigaddset(&awaited, SIGUSR1);
  sigset_t blocked_before;
  pthread_sigmask(SIG_BLOCK, &awaited, &blocked_before);
  pthread_kill(pthread_self(), SIGUSR1);
  const timespec at_once{};
  CHECK(!survives([&](char* place) {
    return sigtimedwait(&awaited, reinterpret_cast<siginfo_t*>(place), &at_once);
  }));
  CHECK(errno == EAGAIN);
  pthread_sigmask(SIG_SETMASK, &blocked_before, nullptr);

  // The handler was not called once, although it is installed: it runs as soon as the program
  // itself touches the memory.
  CHECK(handler_calls == 0);
  *static_cast<volatile char*>(without_permissions) = 1;
  CHECK(handler_calls == 1);
  // So memory must be there before the call. A touch is one way, and growstack::ensure_committed is
  // the library's way.
  REQUIRE(write(ends[1], "data", 4) == 4);
  CHECK(read(ends[0], without_permissions, 4) == 4);
  sigaction(SIGSEGV, &before, nullptr);
  found(Verdict::never_did,
        "EFAULT from all six calls; kept: pipe, UNIX stream; lost: "
        "UNIX datagram, eventfd, waitpid's status, sigtimedwait's signal");
}

CLAIM(
    36, "S", "Split stacks cost at every call, and much more at a hot split.",
    "split stacks compare at every call, and a call where a piece of stack ends costs a multiple") {
  // This is another way to grow: the compiler (gcc -fsplit-stack) has each function ask first
  // whether its frame still fits, and get another piece of stack elsewhere if it does not. When the
  // function returns, the thread is back on the piece before. In a loop, a call that just does not
  // fit changes pieces every time: the hot split. Nobody sees in the source how deep a program is
  // when that happens.
  //
  // That is why Go gave split stacks up, and copies a stack to a larger place instead. A C++
  // program cannot do that, because any pointer may lead to a variable on the stack, and nobody
  // knows which.
  const std::string program =
      (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "claims_split_stack")
          .string();
  if (access(program.c_str(), X_OK) != 0) {
    return skip("claims_split_stack was not built: it needs ld.gold or ld.lld");
  }
  const std::unique_ptr<FILE, int (*)(FILE*)> output(popen(("'" + program + "'").c_str(), "r"),
                                                     pclose);
  REQUIRE(output != nullptr);
  int compares = 0;
  int depths = 0;
  int hot = 0;
  double usual = 0;
  double worst = 0;
  REQUIRE(std::fscanf(output.get(), "%d %d %d %lf %lf", &compares, &depths, &hot, &usual, &worst) ==
          5);
  CHECK(compares == 1);  // the function reads where its piece ends, before it does anything else
  // A function was called at many depths, one small frame apart. At some depths its frame was not
  // beside its caller's.
  CHECK(hot > 0);
  CHECK(hot < depths / 2);
  found(Verdict::holds,
        "a call in a loop costs {:.2f} times as much as without split stacks, at the worst "
        "depth {:.0f} times as much as that; the frame was elsewhere at {} of {} depths",
        usual, worst, hot, depths);
}

namespace {

/// How much of a stack is resident before an excursion, after it, and when its memory was given
/// back.
struct Excursion {
  std::size_t before = 0;
  std::size_t after = 0;
  std::size_t given_back = 0;
  std::size_t wrong_bytes = 0;
  bool succeeded = false;
};

constexpr std::size_t excursion_bytes = 4 * MiB;

/// Makes an excursion on the stack of an ordinary thread.
Excursion excursion_of_thread(char* lowest, std::size_t size) {
  Excursion seen;
  seen.before = resident_bytes(lowest, size);
  seen.wrong_bytes = descend(excursion_bytes);
  seen.after = resident_bytes(lowest, size);
  // Nobody needs what lies well below the frame of this function. MADV_DONTNEED takes the pages
  // away and leaves the mapping. The next excursion gets new pages, filled with zeros.
  constexpr std::size_t headroom = 64 * KiB;
  const std::uintptr_t useless_end = (GROWSTACK_HERE - headroom) / page_bytes() * page_bytes();
  seen.succeeded =
      madvise(lowest, useless_end - reinterpret_cast<std::uintptr_t>(lowest), MADV_DONTNEED) == 0;
  seen.given_back = resident_bytes(lowest, size);
  seen.wrong_bytes += descend(excursion_bytes);
  return seen;
}

void check(const Excursion& seen) {
  CHECK(seen.succeeded);
  CHECK(seen.wrong_bytes == 0);
  CHECK(seen.before < excursion_bytes / 4);
  CHECK(seen.after >= excursion_bytes);
  CHECK(seen.given_back < excursion_bytes / 4);
}

}  // namespace

CLAIM(37, "S", "Deep stacks can give memory back when the excursion is over.",
      "a stack can give back what an excursion left below it, if somebody asks for it") {
  // Small pages only. Where the system gives huge pages to everybody, a touch may fill 2 MiB.
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
  Excursion thread;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 2 * excursion_bytes);
  pthread_t running{};
  const auto in_thread = [](void* result) -> void* {
    const StackPlace stack = running_stack();
    *static_cast<Excursion*>(result) = excursion_of_thread(stack.begin, stack.size());
    return nullptr;
  };
  REQUIRE(pthread_create(&running, &attributes, in_thread, &thread) == 0);
  pthread_join(running, nullptr);
  pthread_attr_destroy(&attributes);
  check(thread);

  // On a stack of growstack's one call does it, and also gives back what counted against the limits
  // of the process.
  growstack::Stack stack(
      {.reserve = 2 * excursion_bytes, .strategy = growstack::Strategy::in_handler});
  Excursion growable;
  std::size_t committed_deep = 0;
  std::size_t committed_trimmed = 0;
  growstack::call(stack, [&] {
    growable.before = stack.resident();
    growable.wrong_bytes = descend(excursion_bytes);
    growable.after = stack.resident();
    committed_deep = stack.committed();
    growable.succeeded = !growstack::Stack::trim_current();
    committed_trimmed = stack.committed();
    growable.given_back = stack.resident();
    growable.wrong_bytes += descend(excursion_bytes);
  });
  prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
  check(growable);
  CHECK(committed_deep >= excursion_bytes);
  CHECK(committed_trimmed < excursion_bytes / 4);
  found(Verdict::holds,
        "an excursion of {} KiB: a thread's stack has {} KiB resident afterwards, "
        "{} after MADV_DONTNEED; a growstack stack {}, {} after trim_current",
        excursion_bytes / KiB, thread.after / KiB, thread.given_back / KiB, growable.after / KiB,
        growable.given_back / KiB);
}

namespace {

std::size_t arenas() { return growstack::process_counters().arenas; }

}  // namespace

CLAIM(40, "L",
      "A slab cache keeps full, partial and empty slabs; a pool of stacks can do the same.",
      "stacks share slabs of address space, full or partial ones, "
      "and an empty one is kept for a second, without memory, or until trim()") {
  // A slab is a piece of memory that is cut into places of one size. growstack calls its slabs
  // arenas: each is one reservation of address space, shared by stacks of one strategy and size.
  const growstack::StackOptions options{.reserve = 8 * MiB - 64 * KiB,
                                        .guard = 64 * KiB,
                                        .strategy = growstack::Strategy::in_handler};
  REQUIRE(arenas() == 0);
  std::vector<growstack::Stack> first_slab;
  first_slab.emplace_back(options);
  CHECK(arenas() == 1);
  // A slab is partial as long as it has a place for the next stack. It is full when the next stack
  // needs another slab.
  while (arenas() == 1 && first_slab.size() < 10'000) {
    first_slab.emplace_back(options);
  }
  REQUIRE(arenas() == 2);
  std::vector<growstack::Stack> second_slab;
  second_slab.push_back(std::move(first_slab.back()));
  first_slab.pop_back();
  const std::size_t places = first_slab.size();
  CHECK(places > 1);
  // Each slab is in one piece, so the stacks of the first one lie beside each other.
  std::vector<const char*> bases;
  for (const growstack::Stack& stack : first_slab) {
    bases.push_back(static_cast<const char*>(stack.base()));
  }
  const auto [lowest, highest] = std::minmax_element(bases.begin(), bases.end());
  CHECK(static_cast<std::size_t>(*highest - *lowest) ==
        (places - 1) * (options.reserve + options.guard));

  // From full to partial: the next stack gets a place that was given back, and no further slab is
  // needed.
  const void* const given_back = first_slab.front().base();
  first_slab.erase(first_slab.begin());
  CHECK(arenas() == 2);
  std::vector<growstack::Stack> more;
  while (arenas() == 2 && more.size() < 2 * places) {
    more.emplace_back(options);
  }
  // One place in the first slab, all but one in the second, and one in a third.
  CHECK(more.size() == places + 1);
  CHECK(arenas() == 3);
  CHECK(std::ranges::any_of(
      more, [&](const growstack::Stack& stack) { return stack.base() == given_back; }));

  // From partial to empty: a slab cache keeps some empty slabs for the next object. growstack keeps
  // the address space of a few for about a second, without memory, and trim() gives it back.
  const char* const third = static_cast<const char*>(more.back().base());
  more.pop_back();
  CHECK(arenas() == 2);
  CHECK(mapped_bytes(third - options.reserve, third) == options.reserve);
  CHECK(resident_bytes(third - options.reserve, options.reserve) == 0);
  growstack::trim();
  CHECK(mapped_bytes(third - options.reserve, third) == 0);
  more.clear();
  second_slab.clear();
  CHECK(arenas() == 1);  // the first is partial again
  first_slab.clear();
  CHECK(arenas() == 0);
  found(Verdict::holds,
        "{} stacks of {} KiB in a slab: full, the next one opens another; "
        "partial, it gets the next one; empty, it has no memory, and goes after a second",
        places, options.reserve / KiB);
}
