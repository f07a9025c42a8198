// The alternate stack of a thread. The program's own one is in force while it is large enough for
// our handler, and ours otherwise. The program is told of its own one.
//
// If the program's one has SS_AUTODISARM, ours gets it as well, because a handler that switches to
// another stack needs that the kernel does not write over its frames. While such a handler runs,
// the thread has no alternate stack, so no growth is possible, as without this component.
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
  return is_enabled(stack) && stack.ss_size >= here.least;
}

constexpr stack_t disabled{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};

/// Returns what the kernel would report if it had the program's stack in place of ours.
stack_t as_program_sees_it(bool is_running_on_it) noexcept {
  const int kept_flag = here.programs.ss_flags & auto_disarm;
  const bool enabled = is_enabled(here.programs);
  stack_t seen = enabled ? here.programs : disabled;
  seen.ss_flags = kept_flag | (!enabled ? SS_DISABLE : is_running_on_it ? SS_ONSTACK : 0);
  return seen;
}

int set_in_kernel(const stack_t& stack) noexcept { return libc.sigaltstack.get()(&stack, nullptr); }

int put_ours_in_force(const stack_t& programs) noexcept {
  stack_t ours = here.ours;
  ours.ss_flags = programs.ss_flags & auto_disarm;
  return set_in_kernel(ours);
}

/// Sets the program's stack. The kernel says what is wrong with it, except while it has no such
/// stack to judge: on ours, of which the program does not know.
int set_programs(const stack_t& wanted, bool runs_on_ours) noexcept {
  if (runs_on_ours && !is_enabled(here.programs)) {
    here.programs = wanted;
    return 0;
  }
  // To disable it is never wrong, and must not happen even for a moment.
  const bool is_to_judge = runs_on_ours || (wanted.ss_flags & ~auto_disarm) != SS_DISABLE;
  if (is_to_judge && set_in_kernel(wanted) != 0) {
    return -1;
  }
  if (!may_be_in_force(wanted) && put_ours_in_force(wanted) != 0) {
    return -1;
  }
  here.programs = wanted;
  return 0;
}

}  // namespace

int change_alternate_stack(const stack_t* stack, stack_t* old) noexcept {
  if (here.ours.ss_sp == nullptr) {
    return libc.sigaltstack.get()(stack, old);
  }
  if (stack != nullptr) {  // first, because a handler that interrupts us may leave by a jump
    changes.fetch_add(1, std::memory_order_relaxed);
  }
  stack_t now{};
  if (is_in_vfork_child() || libc.sigaltstack.get()(nullptr, &now) != 0) {
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

int keep_alternate_stack(const stack_t* ours, std::size_t least, bool now) noexcept {
  const bool is_another_copys = here.ours.ss_sp != nullptr && here.ours.ss_sp != ours->ss_sp;
  if (is_another_copys) {  // which is as good
    return 0;
  }
  if (here.ours.ss_sp == nullptr && libc.sigaltstack.get()(nullptr, &here.programs) != 0) {
    return errno;
  }
  here.least = least;
  here.ours = *ours;
  if (now && put_ours_in_force(here.programs) != 0) {
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
