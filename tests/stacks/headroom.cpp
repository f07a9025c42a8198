// Memory before it is needed. What the kernel touches for a program raises no fault of ours, and
// code that blocks every signal dies of such a fault.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/handler/userfault.hpp>

#include "support/address_of.hpp"
#include "support/bare_system_call.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/limits.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <chrono>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

using namespace growstack::testing;
using growstack::call;
using growstack::ensure_committed;
using growstack::reserve_headroom;
using growstack::Stack;
using growstack::StackOptions;
using growstack::Strategy;
using growstack::handler::page_size;

namespace {

StackOptions options_for(const Traits& of) {
  return {.reserve = 6 * MiB, .strategy = of.strategy, .name = "short of room"};
}

const void* at(std::uintptr_t address) { return reinterpret_cast<const void*>(address); }

/// A file that repeats one byte. It can be read from its beginning any number of times.
class FileOf {
 public:
  FileOf(unsigned char byte, std::size_t size) : descriptor_(memfd_create("bytes", MFD_CLOEXEC)) {
    const std::string bytes(size, static_cast<char>(byte));
    whole_ = write(descriptor_, bytes.data(), size) == static_cast<ssize_t>(size);
  }
  ~FileOf() { close(descriptor_); }
  FileOf(const FileOf&) = delete;
  FileOf& operator=(const FileOf&) = delete;

  [[nodiscard]] bool whole() const { return whole_; }

  /// Has the kernel read the file to an address, which this process does not touch. Returns the
  /// number of bytes, or a negative errno.
  [[nodiscard]] long read_to(std::uintptr_t address, std::size_t bytes) const {
    lseek(descriptor_, 0, SEEK_SET);
    return bare_read(descriptor_, address, bytes);
  }

 private:
  int descriptor_;
  bool whole_ = false;
};

/// Has the kernel write the signal mask, 8 bytes, to an address, which any thread can do without a
/// file. Returns 0 or a negative errno.
[[gnu::always_inline]] inline long write_mask_to(std::uintptr_t address) {
  return bare_system_call(SYS_rt_sigprocmask, SIG_BLOCK, 0,
                          static_cast<long>(address & ~std::uintptr_t{7}), 8);
}

/// Returns how many bytes of [begin, begin + size) are not `byte`.
std::size_t wrong_bytes(std::uintptr_t begin, std::size_t size, unsigned char byte) {
  const auto* const bytes = reinterpret_cast<const volatile unsigned char*>(begin);
  std::size_t wrong = 0;
  for (std::size_t index = 0; index < size; ++index) {
    wrong += bytes[index] == byte ? 0 : 1;
  }
  return wrong;
}

}  // namespace

// ---- what the kernel does with memory that nobody touched ---------------------------------------

EVERY_STRATEGY(
    "a system call into memory that nobody has touched finds "
    "what the strategy has there without a fault of ours") {
  const FileOf file(42, 8 * KiB);
  Stack stack(options_for(Of::traits));
  const long got =
      call(stack, [&] { return file.read_to(address_of(stack.base()) - MiB, 8 * KiB); });
  CAPTURE(got);
  switch (Of::traits.in_system_calls) {
    case InSystemCalls::grows:
      CHECK(got == 8 * KiB);
      break;
    case InSystemCalls::refused:
      CHECK(got == -EFAULT);
      CHECK(stack.committed() == growstack::GrowthPolicy{}.initial_commit);
      break;
    case InSystemCalls::by_right:
      CHECK(got == (growstack::supported(Of::strategy).reason.empty() ? static_cast<long>(8 * KiB)
                                                                      : -EFAULT));
      break;
  }
}

EVERY_STRATEGY("a system call fills every byte of memory that was ensured to be committed") {
  const FileOf file(42, 64 * KiB);
  REQUIRE(file.whole());
  Stack stack(options_for(Of::traits));
  std::error_code error;
  long got = 0;
  std::size_t wrong = 0;
  call(stack, [&] {
    const std::uintptr_t buffer = address_of(stack.base()) - MiB;
    error = ensure_committed(at(buffer), 64 * KiB);
    got = file.read_to(buffer, 64 * KiB);
    wrong = wrong_bytes(buffer, 64 * KiB, 42);
  });
  CHECK(error == std::error_code());
  CHECK(got == 64 * KiB);
  CHECK(wrong == 0);
  CHECK(stack.counters().growth_faults == 0);
}

EVERY_STRATEGY("a system call below the running frame succeeds if headroom was reserved") {
  const FileOf file(43, 8 * KiB);
  Stack stack(options_for(Of::traits));
  std::error_code error;
  long got = 0;
  call(stack, [&] {
    error = reserve_headroom(MiB);
    got = file.read_to(GROWSTACK_HERE - MiB, 8 * KiB);
  });
  CHECK(error == std::error_code());
  CHECK(got == 8 * KiB);
  CHECK(stack.counters().growth_faults == 0);
}

EVERY_STRATEGY("memory down to the floor can be ensured") {
  const FileOf file(44, page_size());
  Stack stack(options_for(Of::traits));
  std::error_code error;
  long got = 0;
  call(stack, [&] {
    error = ensure_committed(stack.floor(), 1);
    got = file.read_to(address_of(stack.floor()), page_size());
  });
  CHECK(error == std::error_code());
  CHECK(got == static_cast<long>(page_size()));
  CHECK(stack.committed() == stack.reserved());
  CHECK(call(stack, [&] { return descend_to(address_of(stack.floor()), 16 * KiB); }) == 0);
}

// ---- how much, and how often --------------------------------------------------------------------

STRATEGIES_WHERE(
    traits.limit_moves,
    "memory that is ensured is committed by the growth policy, and the high-water mark follows") {
  Stack stack(options_for(Of::traits));
  call(stack, [&] { return ensure_committed(at(address_of(stack.base()) - MiB), KiB); });
  CHECK(stack.committed() >= MiB);
  CHECK(stack.committed() <= 64 * KiB + 2 * (MiB + 8 * KiB));
  CHECK(stack.high_water_mark() == stack.committed());
}

EVERY_STRATEGY("to ensure memory that is already ensured changes nothing") {
  Stack stack(options_for(Of::traits));
  std::size_t changed = 0;
  call(stack, [&] {
    const void* const buffer = at(address_of(stack.base()) - MiB);
    static_cast<void>(ensure_committed(buffer, KiB));
    const void* const limit = stack.limit();
    for (int time = 0; time < 100; ++time) {
      changed +=
          ensure_committed(buffer, KiB) || reserve_headroom(16 * KiB) || stack.limit() != limit ? 1
                                                                                                : 0;
    }
  });
  CHECK(changed == 0);
  CHECK(stack.counters().growth_faults == 0);
}

EVERY_STRATEGY("the owner of a stack can ensure its memory without running on it") {
  const FileOf file(45, 8 * KiB);
  Stack stack(options_for(Of::traits));
  const std::uintptr_t buffer = address_of(stack.base()) - 2 * MiB;
  CHECK(ensure_committed(at(buffer), 8 * KiB) == std::error_code());
  CHECK(file.read_to(buffer, 8 * KiB) == 8 * KiB);
  CHECK(stack.counters().remote_growth_faults == 0);
}

STRATEGIES_WHERE(traits.trims, "a trim takes back what was ensured, and it can be ensured again") {
  const FileOf file(46, 8 * KiB);
  Stack stack(options_for(Of::traits));
  for (int round = 0; round < 3; ++round) {
    CAPTURE(round);
    const long got = call(stack, [&] {
      const std::uintptr_t buffer = address_of(stack.base()) - 2 * MiB;
      static_cast<void>(ensure_committed(at(buffer), 8 * KiB));
      return file.read_to(buffer, 8 * KiB);
    });
    CHECK(got == 8 * KiB);
    CHECK(stack.trim() == std::error_code());
    CHECK(stack.resident() == 0);
  }
}

// ---- what is refused ----------------------------------------------------------------------------

STRATEGIES_WHERE(
    traits.guarded,
    "memory below the floor cannot be ensured: ENOMEM, and the stack stays as it was") {
  Stack stack(options_for(Of::traits));
  const void* const limit = stack.limit();
  CHECK(ensure_committed(static_cast<const char*>(stack.floor()) - 1, 1) ==
        std::errc::not_enough_memory);
  CHECK(call(stack, [&] { return reserve_headroom(stack.reserved()); }) ==
        std::errc::not_enough_memory);
  CHECK(call(stack, [&] { return reserve_headroom(SIZE_MAX); }) == std::errc::not_enough_memory);
  CHECK(stack.limit() == limit);
}

STRATEGIES_WHERE(traits.grows_by_protection,
                 "a buffer that ends beyond the base is no buffer on the stack: EINVAL") {
  Stack stack(options_for(Of::traits));
  const void* const limit = stack.limit();
  CHECK(ensure_committed(at(address_of(stack.base()) - MiB), MiB + 1) ==
        std::errc::invalid_argument);
  CHECK(ensure_committed(at(address_of(stack.base()) - MiB), SIZE_MAX) ==
        std::errc::invalid_argument);
  CHECK(stack.limit() == limit);
  CHECK(ensure_committed(at(address_of(stack.base()) - MiB), MiB) == std::error_code());
}

namespace {

int no_memory_to_lend(const Traits& of) {
  Stack stack({.reserve = 64 * MiB, .strategy = of.strategy});
  require(set_soft_limit(RLIMIT_DATA, status_bytes("VmData") + MiB), "a limit can be set");
  const bool refused =
      ensure_committed(at(address_of(stack.base()) - 32 * MiB), 1) == std::errc::not_enough_memory;
  const bool small_one = !ensure_committed(at(address_of(stack.base()) - 256 * KiB), 1);
  return refused && small_one ? 7 : 1;
}
const ScenarioOfEach<no_memory_to_lend> no_memory_to_lend_scenarios("no memory to lend");

}  // namespace

STRATEGIES_WHERE(
    traits.grows_by_protection,
    "if RLIMIT_DATA forbids the growth, the answer is ENOMEM and the process lives on") {
  if (sanitized) {
    return skip("a sanitizer's own memory counts against RLIMIT_DATA");
  }
  CHECK(run_scenario_of("no memory to lend", Of::traits).exit_code == 7);
}

namespace {

int nothing_left_of_the_budget(const Traits& of) {
  Stack stack({.reserve = 64 * MiB, .strategy = of.strategy});
  growstack::set_process_budget(MiB);
  const std::error_code refused = ensure_committed(at(address_of(stack.base()) - 32 * MiB), 1);
  const bool small_one = !ensure_committed(at(address_of(stack.base()) - 256 * KiB), 1);
  return refused && small_one ? 7 : 1;
}
const ScenarioOfEach<nothing_left_of_the_budget> nothing_left_scenarios(
    "nothing left of the budget");

}  // namespace

STRATEGIES_WHERE(traits.growth_events,
                 "if the budget of the process forbids the growth, the answer is an error") {
  const Ended ended = run_scenario_of("nothing left of the budget", Of::traits);
  CHECK(ended.err == "");
  CHECK(ended.exit_code == 7);
}

// ---- elsewhere ----------------------------------------------------------------------------------

TEST_CASE("there is nothing to do on a plain thread, or for memory that is no stack of ours") {
  static int in_data = 0;
  const std::vector<int> on_heap(1000);
  const int on_stack = 0;
  CHECK(ensure_committed(&in_data, sizeof in_data) == std::error_code());
  CHECK(ensure_committed(on_heap.data(), 4000) == std::error_code());
  CHECK(ensure_committed(&on_stack, sizeof on_stack) == std::error_code());
  CHECK(ensure_committed(nullptr, 0) == std::error_code());
  CHECK(ensure_committed(at(UINTPTR_MAX), 1) == std::error_code());
  CHECK(reserve_headroom(0) == std::error_code());
  CHECK(reserve_headroom(MiB) == std::error_code());
  CHECK(reserve_headroom(SIZE_MAX) == std::error_code());
  CHECK_FALSE(growstack::handler::installed());
}

namespace {

Stack* of_the_handler = nullptr;
long got_in_handler = 0;
const FileOf* file_of_handler = nullptr;

void ensure_and_read(int) {
  const std::uintptr_t buffer = address_of(of_the_handler->base()) - MiB;
  // Headroom of the alternate stack is not ours to reserve: nothing happens.
  const bool ready = !ensure_committed(at(buffer), 8 * KiB) && !reserve_headroom(SIZE_MAX);
  got_in_handler = ready ? file_of_handler->read_to(buffer, 8 * KiB) : -1;
}

}  // namespace

EVERY_STRATEGY(
    "a signal handler on the alternate stack can ensure memory of the stack it interrupted") {
  const FileOf file(47, 8 * KiB);
  Stack stack(options_for(Of::traits));
  of_the_handler = &stack;
  file_of_handler = &file;
  struct sigaction action {};
  action.sa_handler = ensure_and_read;
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR1, &action, nullptr);
  call(stack, [] { raise(SIGUSR1); });
  CHECK(got_in_handler == 8 * KiB);
}

EVERY_STRATEGY("to ensure memory and to reserve headroom does not touch errno") {
  Stack stack(options_for(Of::traits));
  const int error = call(stack, [&] {
    errno = 1234;
    static_cast<void>(ensure_committed(at(address_of(stack.base()) - MiB), 1));
    static_cast<void>(reserve_headroom(2 * MiB));
    static_cast<void>(reserve_headroom(SIZE_MAX));
    return errno;
  });
  CHECK(error == 1234);
}

// ---- many threads -------------------------------------------------------------------------------

namespace {

/// Sends a signal to this process again and again while it exists.
class Timer {
 public:
  Timer(int signal, std::chrono::nanoseconds interval) {
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = signal;
    const timespec period{.tv_sec = 0, .tv_nsec = interval.count()};
    const itimerspec times{.it_interval = period, .it_value = period};
    timer_create(CLOCK_MONOTONIC, &event, &timer_);
    timer_settime(timer_, 0, &times, nullptr);
  }
  ~Timer() { timer_delete(timer_); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  timer_t timer_{};
};

sigjmp_buf way_out;
volatile std::sig_atomic_t may_jump = 0;

/// Reserves headroom again and again while a timer's handler leaves by siglongjmp in the middle.
/// Returns whether the stack, and what its account says, are as if nothing had happened.
bool survives_jumps(Strategy strategy) {
  struct sigaction jump {};
  jump.sa_handler = [](int) {
    if (may_jump != 0) {
      may_jump = 0;
      siglongjmp(way_out, 1);
    }
  };
  jump.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR2, &jump, nullptr);
  growstack::StackPool pool(
      {.reserve = 32 * MiB, .policy = {.huge_from = 0}, .strategy = strategy});
  const std::size_t idle = pool.statistics().committed;
  {
    Stack stack = pool.acquire();
    const Timer timer(SIGUSR2, std::chrono::microseconds(150));
    for (int round = 0; round < 500; ++round) {
      static_cast<void>(stack.trim());
      call(stack, [] {
        if (sigsetjmp(way_out, 1) == 0) {
          may_jump = 1;
          for (std::size_t chunks = 1; chunks < 1500; ++chunks) {
            static_cast<void>(reserve_headroom(chunks * 16 * KiB));
            static_cast<void>(growstack::current_stack_bounds());
          }
          may_jump = 0;
        }
      });
    }
  }
  pool.trim();
  return pool.statistics().committed <= idle;
}

}  // namespace

STRATEGIES_WHERE(traits.growth_events&& traits.pools,
                 "a handler that leaves reserve_headroom by siglongjmp leaves nothing behind") {
  // The end of the stack and of its pool would wait for ever for a pin.
  CHECK(end_of_child([] { return survives_jumps(Of::strategy) ? 7 : 1; }) == 7);
}

EVERY_STRATEGY("many threads ensure memory of their stacks at once") {
  if (skip_because_of_holes(Of::traits)) {
    return;
  }
  constexpr int count = 8;
  std::vector<Stack> stacks;
  for (int index = 0; index < count; ++index) {
    stacks.emplace_back(StackOptions{.reserve = 2 * MiB, .strategy = Of::strategy});
  }
  std::atomic<int> wrong{0};
  std::barrier start(count);
  std::vector<std::thread> threads;
  for (int index = 0; index < count; ++index) {
    threads.emplace_back([&, index] {
      static_cast<void>(growstack::handler::attach_thread());
      start.arrive_and_wait();
      call(stacks[static_cast<std::size_t>(index)], [&] {
        for (std::size_t depth = 16 * KiB; depth <= MiB; depth += 16 * KiB) {
          const std::uintptr_t buffer = GROWSTACK_HERE - depth;
          wrong += ensure_committed(at(buffer), 8 * KiB) ? 1 : 0;
          wrong += write_mask_to(buffer) == 0 ? 0 : 1;
        }
      });
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(wrong == 0);
}

STRATEGIES_WHERE(traits.limit_moves,
                 "threads that ensure memory of one stack at once agree on its limit") {
  constexpr std::size_t count = 8;
  Stack stack(options_for(Of::traits));
  std::atomic<int> wrong{0};
  std::barrier start(static_cast<std::ptrdiff_t>(count));
  std::vector<std::thread> threads;
  for (std::size_t index = 0; index < count; ++index) {
    threads.emplace_back([&, index] {
      start.arrive_and_wait();
      for (std::size_t depth = (index + 1) * page_size(); depth <= MiB;
           depth += count * page_size()) {
        wrong += ensure_committed(at(address_of(stack.base()) - depth), 1) ? 1 : 0;
        wrong += address_of(stack.limit()) <= address_of(stack.base()) - depth ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(wrong == 0);
  CHECK(stack.committed() >= MiB);
  CHECK(stack.high_water_mark() == stack.committed());
  CHECK(stack.counters().growth_faults == 0);
}

// ---- libraries that block every signal ----------------------------------------------------------

namespace {

void by_posix_spawn() {
  pid_t child = 0;
  std::array<char*, 2> arguments{const_cast<char*>("true"), nullptr};
  if (posix_spawn(&child, "/bin/true", nullptr, nullptr, arguments.data(), environ) != 0) {
    _exit(2);
  }
  waitpid(child, nullptr, 0);
}

void by_system() {
  if (std::system("exit 0") != 0) {
    _exit(2);
  }
}

void by_popen() {
  std::FILE* const output = popen("exit 0", "r");
  if (output == nullptr || pclose(output) != 0) {
    _exit(2);
  }
}

/// Runs body() in a child, on a stack with the stack pointer `distance` above the limit. Returns
/// how the child ended.
template <class Body>
int end_at_distance(const Traits& of, std::size_t distance, const Body& body) {
  return end_of_child([&] {
    no_core();
    Stack stack(options_for(of));
    call(stack, [&] { at_stack_pointer(address_of(stack.limit()) + distance, body); });
    return 0;
  });
}

/// Starts programs at every distance of up to 4 KiB, because nobody knows where exactly a library
/// blocks signals and how much stack it needs then. Prints how many died.
template <bool with_headroom>
int start_programs(const Traits& of) {
  for (void (*const start_program)() : {by_posix_spawn, by_system, by_popen}) {
    int died = 0;
    // At the first call the dynamic linker resolves names, with frames that are larger than those
    // in question.
    start_program();
    for (std::size_t distance = 128; distance <= 4 * KiB; distance += 16) {
      const int end = end_at_distance(of, distance, [&] {
        if (with_headroom && reserve_headroom(64 * KiB)) {
          _exit(3);
        }
        start_program();
      });
      if (end != 0 && end != killed_by(of.grows_by)) {
        return 2;
      }
      died += end == 0 ? 0 : 1;
    }
    std::printf("%d died\n", died);
  }
  return 0;
}
const ScenarioOfEach<start_programs<false>> start_programs_without(
    "start programs without headroom");
const ScenarioOfEach<start_programs<true>> start_programs_with("start programs with headroom");

}  // namespace

STRATEGIES_WHERE(
    traits.grows_by != 0,
    "posix_spawn, system and popen die close above the limit, because they block every signal") {
  if (sanitized) {
    return skip("a sanitizer's own frames need more than is left above the limit");
  }
  const Ended ended = run_scenario_of("start programs without headroom", Of::traits);
  CHECK(ended.exit_code == 0);
  CHECK(std::count(ended.out.begin(), ended.out.end(), '\n') == 3);
  CHECK_FALSE(contains("\n" + ended.out, "\n0 died"));
}

STRATEGIES_WHERE(
    traits.grows_by != 0,
    "posix_spawn, system and popen work at every distance if headroom was reserved before") {
  if (sanitized) {
    return skip("a sanitizer's own frames need more than is left above the limit");
  }
  const Ended ended = run_scenario_of("start programs with headroom", Of::traits);
  CHECK(ended.exit_code == 0);
  CHECK(ended.out == "0 died\n0 died\n0 died\n");
}

// ---- threads that are started -------------------------------------------------------------------

namespace {

StackOptions options_for_thread() { return {.reserve = MiB, .strategy = Strategy::in_handler}; }

void make_stack(const Traits& of) { const Stack stack(options_for(of)); }

void start_thread(const Traits&) {
  growstack::Thread(options_for_thread(), [] {}).join();
}

void create_thread_on_stack(const Traits&) {
  Stack stack(options_for_thread());
  pthread_t thread{};
  const int error = growstack::create_thread(
      &thread, stack, nullptr, [](void* given) { return given; }, nullptr);
  if (error != 0 || pthread_join(thread, nullptr) != 0) {
    _exit(4);
  }
}

/// Runs body(of) on a stack, at every distance of up to 8 KiB above its limit. Each time a child
/// does so, which has no service thread yet. Prints how many died.
template <void (*body)(const Traits&)>
int run_at_every_distance(const Traits& of) {
  require(growstack::handler::install() == 0, "install");
  body(of);  // as in start_programs()
  int died = 0;
  for (std::size_t distance = 128; distance <= 8 * KiB; distance += 16) {
    const int end = end_at_distance(traits_of_in_handler, distance, [&] { body(of); });
    if (end != 0 && end != killed_by(SIGSEGV)) {
      std::printf("child ended with %d, ", end);
    }
    died += end == 0 ? 0 : 1;
  }
  std::printf("%d died\n", died);
  return 0;
}
const ScenarioOfEach<run_at_every_distance<make_stack>> first_stacks("first stack");

/// Starts the service thread of a strategy, as the first stack of this strategy does.
void start_service_thread(const Traits& of) {
  using namespace growstack::handler;
  const UserfaultKind kind = of.grows_by == 0 ? UserfaultKind::monitor : UserfaultKind::signal;
  bool is_refused = false;
  if ((of.by_userfaultfd ? start_userfault(kind, is_refused) : start_helper()) != 0) {
    _exit(4);
  }
}
const ScenarioOfEach<run_at_every_distance<start_service_thread>> service_threads("service thread");

}  // namespace

GROWSTACK_SCENARIO("threads at every distance") {
  run_at_every_distance<start_thread>(traits_of_in_handler);
  run_at_every_distance<create_thread_on_stack>(traits_of_in_handler);
  return 0;
}

STRATEGIES_WHERE(traits.grows_by_protection || traits.by_userfaultfd,
                 "the service thread of a strategy can be started at every distance from a limit") {
  if (sanitized) {
    return skip("a sanitizer's own frames need more than is left above the limit");
  }
  const Ended ended = run_scenario_of("service thread", Of::traits);
  CHECK(ended.exit_code == 0);
  CHECK(ended.out == "0 died\n");
}

EVERY_STRATEGY(
    "the first stack can be made at every distance from the limit of another one, although that "
    "may start threads") {
  if (sanitized) {
    return skip("a sanitizer's own frames need more than is left above the limit");
  }
  const Ended ended = run_scenario_of("first stack", Of::traits);
  CHECK(ended.exit_code == 0);
  CHECK(ended.out == "0 died\n");
}

TEST_CASE("a Thread and create_thread can be started at every distance from the limit") {
  if (sanitized) {
    return skip("a sanitizer's own frames need more than is left above the limit");
  }
  const Ended ended = run_scenario("threads at every distance");
  CHECK(ended.exit_code == 0);
  CHECK(ended.out == "0 died\n0 died\n");
}
