#include "process/chain.hpp"

#include "anywhere/fork_wiped.hpp"
#include "anywhere/keep_handler.hpp"
#include "fault/forward.hpp"
#include "fault/on_fault.hpp"
#include "process/copies.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

namespace growstack::handler {
namespace {

/// How many levels were in force since our handler was installed. They stay in use until it is
/// uninstalled, because a handler may have kept one to call it, or to put it back. Written under
/// the life-cycle lock.
int levels_used_for_segv = 0;
int levels_used_for_bus = 0;

int& levels_used(int signal) noexcept {
  return signal == SIGBUS ? levels_used_for_bus : levels_used_for_segv;
}

/// More copies of this library than there are in a process, in case what they tell is a circle.
constexpr int most_steps = 64;

bool wants_info(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) != 0;
}

bool is_default_or_ignored(const struct sigaction& action) noexcept {
  return !wants_info(action) && (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN);
}

bool is_same_handler(const struct sigaction& one, const struct sigaction& other) noexcept {
  return wants_info(one) == wants_info(other) && one.sa_handler == other.sa_handler;
}

/// Returns true if `found` is true for the action or for one that it forwards to, as far as copies
/// of this library tell.
template <class Found>
bool any_forwarded(int signal, struct sigaction action, const Found& found) noexcept {
  for (int step = 0; step < most_steps; ++step) {
    if (found(action)) {
      return true;
    }
    struct sigaction next {};
    if (!copy_forwards_to(signal, action, next)) {
      return false;
    }
    action = next;
  }
  return false;
}

bool reaches_ours(int signal, const struct sigaction& action) noexcept {
  return any_forwarded(signal, action,
                       [](const struct sigaction& each) { return level_of(each) >= 0; });
}

bool leads_to(int level, int signal, const struct sigaction& action) noexcept {
  return any_forwarded(signal, previous_action(level, signal),
                       [&](const struct sigaction& each) { return is_same_handler(each, action); });
}

/// Returns the level to install over an action: one from which forwarding leads to it, or a new one
/// that forwards to it. If all levels are in use, the last one gets another previous action.
int level_over(int signal, const struct sigaction& action) noexcept {
  int& used = levels_used(signal);
  int level = 0;
  while (level < used && !leads_to(level, signal, action)) {
    ++level;
  }
  const bool is_new = level == used;
  level = std::min(level, level_count - 1);
  used = std::max(used, level + 1);
  // The same handler may have other flags by now. If a copy stands in between, it forwards.
  if (is_new || is_same_handler(previous_action(level, signal), action)) {
    set_previous_action(level, signal, action);
  }
  return level;
}

struct sigaction our_action(int level, const struct sigaction& previous) noexcept {
  struct sigaction action {};
  action.sa_sigaction = entry_of(level);
  // Every signal, libc's internal ones too (sigfillset(3) would leave those out): nothing may run
  // in between, and no asynchronous cancellation may strike. (A deferred one cannot, because the
  // handler calls no cancellation point.) A fault in the handler itself then kills at once, by
  // SIGSEGV.
  std::memset(&action.sa_mask, 0xff, sizeof action.sa_mask);
  action.sa_flags = SA_SIGINFO     // the fault address and the registers
                    | SA_ONSTACK;  // the faulting stack has no room
  // A SIGSEGV that somebody sends interrupts system calls the way it did before us.
  action.sa_flags |= is_default_or_ignored(previous) ? SA_RESTART : previous.sa_flags & SA_RESTART;
  return action;
}

int leave_level(int level, int signal) noexcept {
  if (const KeepHandler* const keeper = keeper_beneath(level, signal); keeper != nullptr) {
    return keeper->give_back(signal);
  }
  const struct sigaction previous = previous_action(level, signal);
  return change_action(signal, &previous, nullptr);
}

}  // namespace

bool is_first_in_chain(int signal) noexcept {
  struct sigaction now {};
  return change_action(signal, nullptr, &now) == 0 && level_of(now) >= 0;
}

int enter_chain(int signal) noexcept {
  struct sigaction now {};
  if (const int error = change_action(signal, nullptr, &now); error != 0) {
    return error;
  }
  if (reaches_ours(signal, now)) {
    return 0;
  }
  struct sigaction expected = now;  // what the kernel has unless another thread is quicker
  for (int step = 0; step < most_steps; ++step) {
    // Before ours is in force, because a fault may come at once.
    const int level = level_over(signal, now);
    const struct sigaction ours = our_action(level, now);
    if (const KeepHandler* const component = keep_component();
        component != nullptr && component->first(signal) == nullptr) {
      return component->keep(signal, &ours, in_vfork_child);
    }
    struct sigaction replaced {};
    if (const int error = change_action(signal, &ours, &replaced); error != 0) {
      return error;
    }
    if (is_same_handler(replaced, expected)) {
      return 0;
    }
    // Another thread was quicker. If it put ours back, that one stays. Otherwise a level over the
    // new one takes the place of ours, from which nothing leads to it.
    if (reaches_ours(signal, replaced)) {
      return change_action(signal, &replaced, nullptr);
    }
    now = replaced;
    expected = ours;
  }
  return 0;
}

int leave_chain(int signal) noexcept {
  struct sigaction now {};
  int level = -1;
  int error = 0;
  while ((error = change_action(signal, nullptr, &now)) == 0 && level_of(now) >= 0) {
    level = level_of(now);
    if (error = leave_level(level, signal); error != 0) {
      return error;
    }
  }
  if (error != 0) {
    return error;  // nobody knows whose handler is in force
  }
  if (level != 0 && !is_default_or_ignored(now)) {
    return EPERM;
  }
  levels_used(signal) = 0;
  return 0;
}

}  // namespace growstack::handler
