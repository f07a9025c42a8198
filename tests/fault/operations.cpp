// The operations of a range, and how a fault uses them: a plan may decline, and the end of a stack
// may be left by a jump.
#include <doctest/doctest.h>

#include <growstack/handler/classify.hpp>
#include <growstack/handler/commit_ahead.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/handler/ranges.hpp>
#include <growstack/handler/userfault.hpp>

#include "machine/machine.hpp"
#include "strategies/implementation.hpp"
#include "strategies/limit_raised.hpp"
#include "support/one_slot.hpp"
#include "support/scenario.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <string>
#include <thread>

using namespace growstack::handler;
using namespace growstack::testing;

namespace {

using Plan = Step (*)(const Range&, const SlotRecord&, std::uintptr_t) noexcept;

/// What the operations below were asked, and what they shall do.
struct {
  Plan plan = nullptr;
  int plans = 0;
  int commits = 0;
  int overflows = 0;
  int last_error = 0;
  bool context_is_of_the_fault = false;
  bool slot_is_pinned = true;
  sigjmp_buf* way_out = nullptr;
} asked;

const OneSlot* the_slot = nullptr;

constexpr Operations operations{
    .plan =
        [](const Range& range, const SlotRecord& slot, std::uintptr_t address) noexcept {
          ++asked.plans;
          return asked.plan(range, slot, address);
        },
    .commit =
        [](const Range&, const SlotRecord&, Step step) noexcept {
          ++asked.commits;
          return make_writable(step);
        },
    .on_overflow =
        [](const SlotRecord&, const Fault& fault, void* context, int error) noexcept {
          ++asked.overflows;
          asked.last_error = error;
          const auto& registers = *static_cast<const ucontext_t*>(context);
          asked.context_is_of_the_fault =
              ThisMachine::stack_pointer(registers) == fault.stack_pointer &&
              ThisMachine::program_counter(registers) == fault.program_counter;
          asked.slot_is_pinned = the_slot->pins() != 0;
          const char said[] = "on_overflow: EDOM\n";
          if (error == EDOM) {
            syscall(SYS_write, STDOUT_FILENO, said, sizeof said - 1);
          }
          if (asked.way_out != nullptr) {
            siglongjmp(*asked.way_out, 1);
          }
          return Disposition::forward;
        },
};

Step nothing(const Range&, const SlotRecord&, std::uintptr_t) noexcept { return {}; }

Step above(const Range&, const SlotRecord& slot, std::uintptr_t address) noexcept {
  return {page_down(address) + page_size(), slot.limit};
}

Step below(const Range&, const SlotRecord&, std::uintptr_t address) noexcept {
  return {page_down(address) - page_size(), page_down(address)};
}

/// Stands for another thread that grows the same stack between classification and plan.
void grow_as_another_thread(const Range& range, std::uintptr_t to) noexcept {
  SlotRecord& slot = range.slots[0];
  const Step step{page_down(to), slot.limit};
  static_cast<void>(make_writable(step));
  lower_limit(slot, step);
}

template <Plan plan, Committer committer>
int declines() {
  no_core();
  const OneSlot slot(operations, committer);
  the_slot = &slot;
  asked.plan = plan;
  slot.touch(3);
  return 0;
}
const Scenario scenarios[]{
    {"nothing, handler", declines<nothing, Committer::handler>},
    {"nothing, helper", declines<nothing, Committer::helper>},
    {"above, handler", declines<above, Committer::handler>},
    {"above, helper", declines<above, Committer::helper>},
    {"below, handler", declines<below, Committer::handler>},
    {"below, helper", declines<below, Committer::helper>},
};

constexpr Committer committers[]{Committer::handler, Committer::helper};

}  // namespace

TEST_CASE("a step counts if it contains the address") {
  for (const Committer committer : committers) {
    asked = {.plan = to_the_limit};
    const OneSlot slot(operations, committer);
    the_slot = &slot;
    const std::uintptr_t before = slot.limit();
    slot.touch(3);
    CHECK(slot.limit() == before - 3 * page_size());
    CHECK(asked.plans == 1);
    CHECK(asked.commits == 1);
    CHECK(asked.overflows == 0);
  }
}

TEST_CASE("a plan that declines while nothing changes ends the fault with EDOM, and no loop") {
  for (const char* const plan : {"nothing", "above", "below"}) {
    for (const char* const committer : {"handler", "helper"}) {
      CAPTURE(plan);
      CAPTURE(committer);
      const Ended ended = run_scenario(std::string(plan) + ", " + committer);
      CHECK(ended.signal == SIGSEGV);
      CHECK(ended.out == "on_overflow: EDOM\n");
    }
  }
}

TEST_CASE("a plan that declines because another thread was first ends the fault") {
  for (const Committer committer : committers) {
    asked = {.plan = [](const Range& range, const SlotRecord&, std::uintptr_t address) noexcept {
      grow_as_another_thread(range, address);
      return Step{};
    }};
    const OneSlot slot(operations, committer);
    the_slot = &slot;
    const std::uintptr_t before = slot.limit();
    slot.touch(3);
    CHECK(slot.limit() == before - 3 * page_size());
    CHECK(asked.plans == 1);
    CHECK(asked.commits == 0);
    CHECK(asked.overflows == 0);
  }
}

TEST_CASE("a plan that declines once is asked again, because the limit may be back where it was") {
  for (const Committer committer : committers) {
    asked = {
        .plan = [](const Range& range, const SlotRecord& slot, std::uintptr_t address) noexcept {
          return asked.plans == 1 ? Step{} : to_the_limit(range, slot, address);
        }};
    const OneSlot slot(operations, committer);
    the_slot = &slot;
    const std::uintptr_t before = slot.limit();
    slot.touch(3);
    CHECK(slot.limit() == before - 3 * page_size());
    CHECK(asked.plans == 2);
    CHECK(asked.overflows == 0);
  }
}

TEST_CASE("a plan that declines is asked again if the limit has changed") {
  for (const Committer committer : committers) {
    asked = {
        .plan = [](const Range& range, const SlotRecord& slot, std::uintptr_t address) noexcept {
          if (asked.plans == 1) {
            grow_as_another_thread(range, address + page_size());
            return Step{};
          }
          return to_the_limit(range, slot, address);
        }};
    const OneSlot slot(operations, committer);
    the_slot = &slot;
    const std::uintptr_t before = slot.limit();
    slot.touch(3);
    CHECK(slot.limit() == before - 3 * page_size());
    CHECK(asked.plans == 2);
    CHECK(asked.commits == 1);
    CHECK(asked.overflows == 0);
  }
}

TEST_CASE("while on_overflow runs the slot is not pinned, so that it may leave by siglongjmp") {
  for (const Committer committer : committers) {
    asked = {.plan = nothing};
    const OneSlot slot(operations, committer);
    the_slot = &slot;
    sigjmp_buf way_out;
    asked.way_out = &way_out;
    if (sigsetjmp(way_out, 1) == 0) {
      slot.touch(3);
    }
    CHECK(asked.overflows == 1);
    CHECK(asked.last_error == EDOM);
    CHECK(asked.context_is_of_the_fault);
    CHECK_FALSE(asked.slot_is_pinned);
    alarm(20);  // a hang must not outlive the test
    slot.retire();
    alarm(0);
  }
}

// ---- without a fault ----------------------------------------------------------------------------

namespace {

/// What commit_ahead() was found to do while it commits.
struct {
  bool signals_are_blocked = false;
  bool faults_are_blocked = true;
  bool slot_is_pinned = true;
} during;

constexpr Operations looks_around{
    .plan =
        [](const Range& range, const SlotRecord& slot, std::uintptr_t address) noexcept {
          ++asked.plans;
          return to_the_limit(range, slot, address);
        },
    .commit =
        [](const Range&, const SlotRecord&, Step step) noexcept {
          sigset_t now;
          pthread_sigmask(SIG_BLOCK, nullptr, &now);
          during = {.signals_are_blocked = sigismember(&now, SIGUSR1) == 1,
                    .faults_are_blocked =
                        sigismember(&now, SIGSEGV) == 1 || sigismember(&now, SIGBUS) == 1,
                    .slot_is_pinned = the_slot->pins() != 0};
          const int error = make_writable(step);
          errno = EXDEV;
          return error;
        },
    .on_overflow = [](const SlotRecord&, const Fault&, void*,
                      int) noexcept { return Disposition::forward; },
};

}  // namespace

TEST_CASE(
    "commit_ahead keeps errno, blocks the signals of the program but not those of faults, and pins "
    "nothing") {
  const OneSlot slot(looks_around, Committer::handler);
  the_slot = &slot;
  errno = ERANGE;
  CHECK(commit_ahead(slot.slot().base - 1, slot.limit() - 8) == 0);
  CHECK(errno == ERANGE);
  CHECK(during.signals_are_blocked);
  CHECK_FALSE(during.faults_are_blocked);
  CHECK_FALSE(during.slot_is_pinned);
}

TEST_CASE("a fault keeps errno, whatever the commit does with it") {
  for (const Committer committer : committers) {
    const OneSlot slot(looks_around, committer);
    the_slot = &slot;
    errno = ERANGE;
    slot.touch(3);
    CHECK(errno == ERANGE);
  }
}

TEST_CASE("commit_ahead asks no plan for memory below the floor") {
  asked = {};
  const OneSlot slot(looks_around, Committer::handler);
  the_slot = &slot;
  CHECK(commit_ahead(slot.slot().base - 1, slot.slot().floor - 1) == ENOMEM);
  CHECK(asked.plans == 0);
}

// ---- steps that are refused ---------------------------------------------------------------------

namespace {

/// Refuses all steps of more than so many pages.
std::size_t most_pages = 0;
int refusals = 0;

constexpr Operations stingy{
    .plan =
        [](const Range&, const SlotRecord& slot, std::uintptr_t address) noexcept {
          return Step{page_down(address) - 100 * page_size(), slot.limit};
        },
    .commit =
        [](const Range&, const SlotRecord&, Step step) noexcept {
          if (step.end - step.begin > most_pages * page_size()) {
            ++refusals;
            return ENOMEM;
          }
          return make_writable(step);
        },
    .on_overflow = [](const SlotRecord&, const Fault&, void*,
                      int) noexcept { return Disposition::forward; },
};

}  // namespace

TEST_CASE("if a step is refused, what the touch needs is committed") {
  for (const Committer committer : committers) {
    most_pages = 3;
    refusals = 0;
    const OneSlot slot(stingy, committer);
    const std::uintptr_t before = slot.limit();
    slot.touch(3);
    CHECK(slot.limit() == before - 3 * page_size());
    CHECK(refusals >= 1);
    CHECK(slot.pins() == 0);
    CHECK(commit_ahead(before, before - 6 * page_size()) == 0);
    CHECK(slot.limit() == before - 6 * page_size());
    CHECK(commit_ahead(before, before - 10 * page_size()) == ENOMEM);
    CHECK(slot.limit() == before - 6 * page_size());
  }
}

// ---- memory that a monitor was refused ----------------------------------------------------------

namespace {

bool no_memory = false;

constexpr Operations filled_by_monitor{
    .plan = to_the_limit,
    .commit =
        [](const Range&, const SlotRecord&, Step step) noexcept {
          return no_memory ? ENOMEM
                           : fill_missing_pages(UserfaultKind::monitor, Filling::memory, step.begin,
                                                step.end);
        },
    .on_overflow = [](const SlotRecord&, const Fault&, void*,
                      int) noexcept { return Disposition::forward; },
};

/// Gives the slot to the monitor, as the strategy userfault does. Returns false if the kernel
/// refuses userfaultfd.
bool watch(const OneSlot& slot) {
  bool is_refused = false;
  if (start_userfault(UserfaultKind::monitor, is_refused) != 0) {
    return false;
  }
  const std::uintptr_t floor = slot.slot().floor;
  slot.slot().growth = Growth::by_monitor;
  return make_writable({floor, slot.limit()}) == 0 &&
         watch_missing_pages(UserfaultKind::monitor, floor, slot.limit() - floor) == 0;
}

/// Has the kernel write the signal mask to an address. Returns 0 or an errno.
int write_mask_to(std::uintptr_t address) {
  return syscall(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, address, 8) == 0 ? 0 : errno;
}

}  // namespace

GROWSTACK_SCENARIO("refused to commit_ahead") {
  alarm(20);
  const OneSlot slot(filled_by_monitor, Committer::handler);
  if (!watch(slot)) {
    return 8;
  }
  const std::uintptr_t before = slot.limit();
  const std::uintptr_t wanted = before - 3 * page_size();
  no_memory = true;
  const bool refused = commit_ahead(before, wanted) == ENOMEM && slot.limit() == before;
  no_memory = false;
  const bool granted = commit_ahead(before, wanted) == 0 && slot.limit() == wanted;
  *reinterpret_cast<volatile char*>(wanted) = 1;
  slot.touch(3);
  return refused && granted && write_mask_to(wanted + 8) == 0 ? 7 : 1;
}

GROWSTACK_SCENARIO("refused to a system call") {
  alarm(20);
  const OneSlot slot(filled_by_monitor, Committer::handler);
  if (!watch(slot) || !serves_system_calls()) {
    return 8;
  }
  const std::uintptr_t before = slot.limit();
  const std::uintptr_t wanted = before - 3 * page_size();
  no_memory = true;
  const bool refused = write_mask_to(wanted) == EFAULT && slot.limit() == before;
  no_memory = false;
  const bool granted = commit_ahead(before, wanted) == 0 && slot.limit() == wanted;
  // Another page is refused, and then touched by the program itself.
  const std::uintptr_t next = wanted - 3 * page_size();
  no_memory = true;
  const bool refused_again = write_mask_to(next) == EFAULT;
  no_memory = false;
  *reinterpret_cast<volatile char*>(next) = 1;
  return refused && granted && refused_again && slot.limit() == next &&
                 write_mask_to(wanted) == 0 && write_mask_to(next) == 0
             ? 7
             : 1;
}

TEST_CASE(
    "what a monitor was refused can be had later, by commit_ahead, a system call and a touch") {
  for (const char* const scenario : {"refused to commit_ahead", "refused to a system call"}) {
    CAPTURE(std::string(scenario));
    const Ended ended = run_scenario(scenario);
    if (ended.exit_code == 8) {
      return skip("there is no userfaultfd, or no privilege to serve system calls");
    }
    CHECK(ended.exit_code == 7);
  }
}

// ---- a trim while another thread grows the stack ------------------------------------------------

namespace {

std::atomic<bool> has_committed{false};
std::atomic<bool> may_go_on{false};

constexpr Operations slow_operations{.plan = to_the_limit,
                                     .commit =
                                         [](const Range&, const SlotRecord&, Step step) noexcept {
                                           const int error = make_writable(step);
                                           has_committed = true;
                                           while (!may_go_on) {
                                             syscall(SYS_sched_yield);
                                           }
                                           return error;
                                         },
                                     .on_overflow = operations.on_overflow};

}  // namespace

GROWSTACK_SCENARIO("a growth during a trim") {
  const OneSlot slot(slow_operations, Committer::handler, 4);
  const std::uintptr_t keep_from = slot.limit() + 2 * page_size();
  std::thread other;
  std::thread later;
  const int error =
      growstack::with_limit_raised(slot.slot(), keep_from, [&](const growstack::BeforeTrim&) {
        other = std::thread([&] {
          require(attach_thread() == 0, "attach");
          slot.touch(5);  // below all that is taken
        });
        while (!has_committed) {
          usleep(1000);
        }
        later = std::thread([] {
          usleep(20'000);
          may_go_on = true;
        });
        void* const taken = reinterpret_cast<void*>(keep_from - 2 * page_size());
        return mprotect(taken, 2 * page_size(), PROT_NONE);
      });
  other.join();
  later.join();
  return error == 0 && slot.limit() == keep_from ? 7 : 1;
}

TEST_CASE("a limit does not claim what a trim took while another thread grew the stack") {
  CHECK(run_scenario("a growth during a trim").exit_code == 7);
}

GROWSTACK_SCENARIO("a trim during a growth") {
  const OneSlot slot(slow_operations, Committer::handler, 4);
  std::thread other([&] {
    require(attach_thread() == 0, "attach");
    slot.touch(5);
  });
  while (!has_committed) {
    usleep(1000);
  }
  // There is memory below the limit now, and nobody has said so. Code that runs there uses it.
  auto* const word = reinterpret_cast<volatile int*>(slot.limit() - page_size());
  *word = 7;
  std::thread later([] {
    usleep(20'000);
    may_go_on = true;
  });
  const auto& in_handler = growstack::implementation_of<growstack::Strategy::in_handler>();
  const int error = in_handler.trim(slot.slot(), {}, slot.limit());
  other.join();
  later.join();
  slot.touch(4);
  return error == 0 && *word == 0 ? 7 : 1;
}

TEST_CASE("a trim takes the memory of a growth that has not told of it yet") {
  CHECK(run_scenario("a trim during a growth").exit_code == 7);
}
