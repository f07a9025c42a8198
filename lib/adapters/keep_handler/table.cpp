// What this component and the handler library tell each other.
#include <growstack/handler/keep_handler.hpp>

#include "adapters/keep_handler/actions.hpp"
#include "adapters/keep_handler/kept.hpp"
#include "adapters/keep_handler/libc.hpp"
#include "adapters/keep_handler/replacements.hpp"
#include "adapters/keep_handler/thread_view.hpp"

namespace growstack::keep {
namespace {

int libc_sigaction(int signal, const struct sigaction* action, struct sigaction* old) {
  return libc.sigaction.get()(signal, action, old);
}

int libc_sigmask(int how, const sigset_t* mask, sigset_t* old) {
  return libc.pthread_sigmask.get()(how, mask, old);
}

int libc_sigaltstack(const stack_t* stack, stack_t* old) {
  return libc.sigaltstack.get()(stack, old);
}

/// Programs ask the linker for the table. It takes from an archive only what is asked for in turn.
struct Replacements {
  decltype(&change_action) of_action_calls;
  decltype(&change_mask) of_mask_calls;
};
[[gnu::used]] const Replacements replacements{change_action, change_mask};

}  // namespace
}  // namespace growstack::keep

namespace keep = growstack::keep;

const growstack::handler::KeepHandler growstack_keep_handler_2{
    .sigaction = keep::libc_sigaction,
    .sigmask = keep::libc_sigmask,
    .sigaltstack = keep::libc_sigaltstack,
    .keep = keep::keep,
    .give_back = keep::give_back,
    .first = keep::first_handler,
    .action = keep::program_action,
    .take_action = keep::take_program_action,
    .changes = &keep::changes,
    .unblock = keep::unblock,
    .is_blocked = keep::is_blocked,
    .hold = keep::hold,
    .begin_handler = keep::begin_handler,
    .end_handler = keep::end_handler,
    .keep_alternate_stack = keep::keep_alternate_stack,
    .give_back_alternate_stack = keep::give_back_alternate_stack};
