// Single stacks: the first one of a process, growth, trims, calls, and what uses stacks in other
// ways.
#include <doctest/doctest.h>

#include <growstack/handler/handler.hpp>
#include <growstack/handler/report.hpp>

#include "errors.hpp"
#include "proofs/failures/every_failure.hpp"
#include "support/address_of.hpp"
#include "support/descend.hpp"

#include <ucontext.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string>
#include <system_error>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

constexpr const char* trim_current = "Stack::trim_current";

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

/// Judges what a trim returned. Memory of the stack below `lowest_kept` must be gone if that is
/// success.
void require_trimmed(std::error_code error, const char* function, const Stack& stack,
                     std::uintptr_t lowest_kept, const Traits& of, const Trial& trial) {
  if (!of.trims) {
    const int expected = of.own_address_space || function != trim_current ? ENOTSUP : EINVAL;
    trial.require(error.value() == expected, std::string(function) + " refuses");
  } else if (trial.succeeded(error, function)) {
    trial.require_given_back(address_of(stack.floor()), lowest_kept, function);
  }
}

/// To be called on the stack.
void trim_around_contents(const Stack& stack, const Traits& of, const Trial& trial) {
  std::array<unsigned char, 20 * KiB> in_use;
  const Contents contents(in_use.data(), in_use.size());
  trial.require(descend(300 * KiB) == 0, "the stack is intact before the trim");
  constexpr std::size_t as_much_again = 160 * KiB;
  require_trimmed(Stack::trim_current(), trim_current, stack,
                  address_of(in_use.data()) - as_much_again, of, trial);
  trial.require(contents.changed() == 0, "what is in use is intact after the trim");
}

void trim_below_contents(Stack& stack, const Traits& of, const Trial& trial) {
  char* const in_use = static_cast<char*>(stack.base()) - 10 * KiB;
  const Contents contents(in_use, 10 * KiB);
  require_trimmed(stack.trim_below(in_use), "Stack::trim_below", stack,
                  address_of(in_use) - 8 * KiB, of, trial);
  trial.require(contents.changed() == 0, "what is in use is intact after Stack::trim_below");
}

void trim_all(Stack& stack, const Traits& of, const Trial& trial) {
  require_trimmed(stack.trim(), "Stack::trim", stack, address_of(stack.base()), of, trial);
}

/// Whether it is possible or not, the stack is as good as before.
void trim(const Traits& of, const Trial& trial) {
  Stack stack(options_of(of));
  go_deep(stack, 700 * KiB, trial);
  trial.watch([&] {
    call(stack, [&] { trim_around_contents(stack, of, trial); });
    trim_below_contents(stack, of, trial);
    trim_all(stack, of, trial);
    go_deep(stack, 300 * KiB, trial);
    trim_all(stack, of, trial);
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

/// As swapcontext(3). That of glibc destroys r12, a register of its caller, if the kernel refuses
/// the mask of signals. Returns an errno, or 0.
[[gnu::noinline]] int swap_contexts(ucontext_t& from, const ucontext_t& to) {
  const int error = swapcontext(&from, &to) == 0 ? 0 : errno;
  asm volatile("" : : : "r12");  // so that this function gives it back as it was
  return error;
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
    if (trial.succeeded(error_code(swap_contexts(here, there)), "swapcontext")) {
      trial.require(wrong == 0, "the stack of a context is intact");
    }
  });
  go_deep(stack, 300 * KiB, trial);
}

/// Keeps the page of the lowest block.
void trim_region(memory_resource& blocks, const Traits& of, const Trial& trial) {
  const Stack& stack = blocks.stack();
  const std::size_t kept = (blocks.used() + 4 * KiB - 1) / (4 * KiB) * (4 * KiB);
  require_trimmed(blocks.trim(), "memory_resource::trim", stack, address_of(stack.base()) - kept,
                  of, trial);
}

void region(const Traits& of, const Trial& trial) {
  trial.watch([&] {
    memory_resource blocks(options_of(of));
    for (int round = 0; round < 2; ++round) {
      std::vector<Contents> contents;
      for (const std::size_t bytes : {10 * KiB, 200 * KiB, 500 * KiB}) {
        contents.emplace_back(blocks.allocate(bytes), bytes);
        trim_region(blocks, of, trial);
      }
      for (const Contents& each : contents) {
        trial.require(each.changed() == 0, "the blocks of a region are intact");
      }
      blocks.release();
      trim_region(blocks, of, trial);
    }
  });
}

struct sigaction action_for_segv(const Trial& trial) {
  struct sigaction action {};
  trial.spare();
  sigaction(SIGSEGV, nullptr, &action);
  return action;
}

void uninstall(const Traits& of, const Trial& trial) {
  const struct sigaction before = action_for_segv(trial);
  { const Stack first(options_of(of)); }
  growstack::trim();
  trial.watch([&] {
    if (trial.succeeded(error_code(handler::uninstall()), "handler::uninstall")) {
      trial.require(action_for_segv(trial).sa_sigaction == before.sa_sigaction,
                    "the action from before the handler is back");
    }
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
