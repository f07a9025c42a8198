// makecontext(3) on a growable stack.
#include <growstack/ucontext.hpp>

#include "arenas/arena.hpp"
#include "errors.hpp"
#include "stacks/make_ready.hpp"
#include "stacks/stack_access.hpp"

#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/machine.hpp>

#include <cerrno>
#include <csignal>
#include <cstdint>

namespace growstack {
namespace {

using Function = void (*)(void*);

std::uintptr_t joined(unsigned upper, unsigned lower) noexcept {
  return static_cast<std::uintptr_t>((std::uint64_t{upper} << 32U) | lower);
}

unsigned upper_of(std::uintptr_t word) noexcept {
  return static_cast<unsigned>(std::uint64_t{word} >> 32U);
}
unsigned lower_of(std::uintptr_t word) noexcept { return static_cast<unsigned>(word); }

/// Calls the function with its argument. makecontext(3) passes only numbers of type int, so each
/// pointer comes in two halves.
void enter(unsigned function_upper, unsigned function_lower, unsigned argument_upper,
           unsigned argument_lower) {
  const auto function = reinterpret_cast<Function>(joined(function_upper, function_lower));
  handler::call_outermost(function,
                          reinterpret_cast<void*>(joined(argument_upper, argument_lower)));
}

}  // namespace

void make_context(ucontext_t& context, const Stack& stack, void (*function)(void*), void* argument,
                  ucontext_t* successor) {
  make_ready(StackAccess::slot(stack));
  if (getcontext(&context) != 0) {
    fail_for_memory(handler::failed(handler::SystemCall::getcontext),
                    "cannot get the thread's context", 0);
  }
  StackAccess::slot(stack).record().marks.fetch_or(entered_mark, std::memory_order_relaxed);
  context.uc_stack = {.ss_sp = stack.floor(), .ss_flags = 0, .ss_size = stack.reserved()};
  context.uc_link = successor;
  sigdelset(&context.uc_sigmask, SIGSEGV);
  sigdelset(&context.uc_sigmask, SIGBUS);
  const auto function_word = reinterpret_cast<std::uintptr_t>(function);
  const auto argument_word = reinterpret_cast<std::uintptr_t>(argument);
  makecontext(&context, reinterpret_cast<void (*)()>(enter), 4, upper_of(function_word),
              lower_of(function_word), upper_of(argument_word), lower_of(argument_word));
}

}  // namespace growstack
