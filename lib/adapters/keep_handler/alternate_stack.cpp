// The alternate stack of a thread. The program's own one is in force while it is large enough for
// our handler, and ours otherwise. The program is told of its own one.
//
// One with SS_AUTODISARM is always in force, because a handler that switches to another stack needs
// that the kernel does not write over its frames. While such a handler runs, the thread has no
// alternate stack, so no growth is possible, as without this component.
#include "adapters/keep_handler/kept.hpp"
#include "adapters/keep_handler/libc.hpp"
#include "adapters/keep_handler/thread_view.hpp"

#include <cerrno>

namespace growstack::keep {
namespace {

constexpr int auto_disarm = static_cast<int>(1U << 31U);  // SS_AUTODISARM of <linux/signal.h>

struct AlternateStacks {
  stack_t ours{};  ///< ss_sp is null in a thread that is not attached
  std::size_t least = 0;
  /// What the program has set last, while ours is in force.
  stack_t programs{};
};
[[gnu::tls_model("initial-exec")]] constinit thread_local AlternateStacks here;

bool is_enabled(const stack_t& stack) noexcept {
  return (stack.ss_flags & ~auto_disarm) != SS_DISABLE && stack.ss_size != 0;
}

bool may_be_in_force(const stack_t& stack) noexcept {
  return (stack.ss_flags & auto_disarm) != 0 || (is_enabled(stack) && stack.ss_size >= here.least);
}

constexpr stack_t disabled{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};

/// Returns what the kernel would report if it had the program's stack in place of ours.
stack_t as_program_sees_it(bool is_running_on_it) noexcept {
  if (!is_enabled(here.programs)) {
    return disabled;
  }
  stack_t seen = here.programs;
  seen.ss_flags = is_running_on_it ? SS_ONSTACK : 0;
  return seen;
}

int set_in_kernel(const stack_t& stack) noexcept { return libc.sigaltstack.get()(&stack, nullptr); }

/// Sets the program's stack. The kernel says what is wrong with it, except while it has no such
/// stack to judge: on ours, of which the program does not know.
int set_programs(const stack_t& wanted, bool runs_on_ours) noexcept {
  if (runs_on_ours && !is_enabled(here.programs)) {
    here.programs = wanted;
    return 0;
  }
  if (runs_on_ours || is_enabled(wanted) || (wanted.ss_flags & ~auto_disarm) != SS_DISABLE) {
    if (set_in_kernel(wanted) != 0) {
      return -1;
    }
  }
  if (!may_be_in_force(wanted) && set_in_kernel(here.ours) != 0) {
    return -1;
  }
  here.programs = wanted;
  return 0;
}

}  // namespace

int change_alternate_stack(const stack_t* stack, stack_t* old) noexcept {
  stack_t now{};
  if (here.ours.ss_sp == nullptr || kept_here() == 0 ||
      libc.sigaltstack.get()(nullptr, &now) != 0) {
    return libc.sigaltstack.get()(stack, old);
  }
  const bool is_running_on_it = (now.ss_flags & SS_ONSTACK) != 0;
  const bool is_ours = now.ss_sp == here.ours.ss_sp;
  const stack_t before = is_ours ? as_program_sees_it(is_running_on_it) : now;
  if (stack != nullptr && set_programs(*stack, is_ours && is_running_on_it) != 0) {
    return -1;
  }
  if (old != nullptr) {
    *old = before;
  }
  return 0;
}

int keep_alternate_stack(const stack_t* ours, std::size_t least) noexcept {
  stack_t now{};
  if (libc.sigaltstack.get()(nullptr, &now) != 0) {
    return errno;
  }
  if ((now.ss_flags & SS_ONSTACK) != 0) {
    return EPERM;
  }
  if (here.ours.ss_sp != nullptr) {  // another copy's, which is as good
    return 0;
  }
  here.least = least;
  here.programs = now;
  here.ours = *ours;
  if (!may_be_in_force(now) && set_in_kernel(*ours) != 0) {
    here.ours = {};
    return errno;
  }
  return 0;
}

int give_back_alternate_stack(const stack_t* ours) noexcept {
  stack_t now{};
  if (here.ours.ss_sp != ours->ss_sp || libc.sigaltstack.get()(nullptr, &now) != 0) {
    return 0;
  }
  if (now.ss_sp == here.ours.ss_sp && set_in_kernel(here.programs) != 0) {
    return errno;
  }
  here.ours = {};
  return 0;
}

}  // namespace growstack::keep
