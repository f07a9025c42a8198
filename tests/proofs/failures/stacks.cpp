// Single stacks: the first one of a process, growth, trims, calls, and what uses stacks in other
// ways.
#include <doctest/doctest.h>

#include <growstack/handler/handler.hpp>
#include <growstack/handler/report.hpp>

#include "proofs/failures/every_failure.hpp"
#include "support/address_of.hpp"
#include "support/descend.hpp"

#include <ucontext.h>

#include <cstring>
#include <string>

using namespace growstack;
using namespace growstack::testing;

namespace {

void first_stack(const Traits& of, const Trial& trial) {
  trial.watch([&] {
    Stack stack(options_of(of));
    trial.require_guard(stack, of);
    go_deep(stack, 200 * KiB, trial);
  });
}

void growth(const Traits& of, const Trial& trial) {
  Stack stack(options_of(of));
  const std::size_t deepest = stack.reserved() - 32 * KiB;
  trial.watch([&] {
    for (std::size_t depth = 100 * KiB; depth < deepest; depth *= 5) {
      go_deep(stack, depth, trial);
    }
    go_deep(stack, deepest, trial);
  });
  trial.require_guard(stack, of);
}

/// Whether it is possible or not, the stack is as good as before.
void trim(const Traits& of, const Trial& trial) {
  Stack stack(options_of(of));
  go_deep(stack, 700 * KiB, trial);
  trial.watch([&] {
    call(stack, [] {
      descend(300 * KiB);
      static_cast<void>(Stack::trim_current());
    });
    static_cast<void>(stack.trim_below(static_cast<char*>(stack.base()) - 10 * KiB));
    static_cast<void>(stack.trim());
    go_deep(stack, 300 * KiB, trial);
    static_cast<void>(stack.trim());
  });
  go_deep(stack, 700 * KiB, trial);
  trial.require_guard(stack, of);
}

void kept_stacks(const Traits& of, const Trial& trial) {
  call(options_of(of), [] { return 1; });
  trial.watch([&] {
    for (const std::size_t depth : {300 * KiB, 100 * KiB}) {
      const std::size_t wrong = call(options_of(of), [=] { return descend(depth); });
      trial.require(wrong == 0, "the stack of a call is intact");
    }
    growstack::trim();
    trial.require(call(options_of(of), [] { return descend(100 * KiB); }) == 0,
                  "the next stack of a call is intact");
  });
}

void ensured_stack(const Traits& of, const Trial& trial) {
  StackOptions small = options_of(of);
  small.reserve = 64 * KiB;
  Stack stack(small);
  trial.watch([&] {
    const std::size_t wrong = call(stack, [&] {
      return ensure_stack(options_of(of), 500 * KiB, [] { return descend(300 * KiB); });
    });
    trial.require(wrong == 0, "the next stack is intact");
  });
}

void context(const Traits& of, const Trial& trial) {
  Stack stack(options_of(of));
  trial.watch([&] {
    static ucontext_t here;
    ucontext_t there;
    std::size_t wrong = 1;
    make_context(
        there, stack, [](void* result) { *static_cast<std::size_t*>(result) = descend(300 * KiB); },
        &wrong, &here);
    if (swapcontext(&here, &there) == 0) {
      trial.require(wrong == 0, "the stack of a context is intact");
    }
  });
  go_deep(stack, 300 * KiB, trial);
}

void region(const Traits& of, const Trial& trial) {
  trial.watch([&] {
    memory_resource blocks(options_of(of));
    for (int round = 0; round < 2; ++round) {
      for (const std::size_t bytes : {10 * KiB, 200 * KiB, 500 * KiB}) {
        void* const block = blocks.allocate(bytes);
        std::memset(block, round, bytes);
      }
      blocks.release();
      static_cast<void>(blocks.trim());
    }
  });
}

void uninstall(const Traits& of, const Trial& trial) {
  { const Stack first(options_of(of)); }
  growstack::trim();
  trial.watch([&] {
    static_cast<void>(handler::uninstall());
    Stack stack(options_of(of));
    go_deep(stack, 300 * KiB, trial);
  });
}

/// The report is the end of the process.
void overflow_with_names(const Traits& of, const Trial& trial) {
  Stack stack(options_of(of));
  trial.watch([&] { call(stack, [&] { touch_in_one_jump(address_of(stack.floor()) - 8); }); });
}

void overflow(const Traits& of, const Trial& trial) {
  handler::set_symbolizer(false);
  overflow_with_names(of, trial);
}

/// The thread that finds names is the same for each strategy. It makes some 3,000 calls, most of
/// them by libbacktrace for its memory.
constexpr unsigned few_of_the_names = 4;

}  // namespace

FAILURES("the first stack", first_stack);
FAILURES("growth", growth);
FAILURES("trims", trim);
FAILURES_WHERE(traits.pools, "the kept stacks of call()", kept_stacks);
FAILURES("ensure_stack()", ensured_stack);
FAILURES("a context", context);
FAILURES_WHERE(traits.pools, "a memory_resource", region);
FAILURES("uninstalling the handler", uninstall);
FAILURES_WHERE(traits.guarded, "the report of an overflow", overflow, "growstack: stack overflow");
FAILURES_WHERE(traits.strategy == Strategy::in_handler, "a report with names", overflow_with_names,
               "growstack: stack overflow", few_of_the_names);
