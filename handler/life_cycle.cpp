// Install and uninstall: what is global in this process, and how it is put back.
#include "life_cycle.hpp"

#include <growstack/handler/handler.hpp>
#include <growstack/handler/ranges.hpp>

#include <growstack/handler/pages.hpp>
#include "fork_wiped.hpp"
#include "forward.hpp"
#include "on_fault.hpp"
#include "reporter.hpp"
#include "request_pipe.hpp"
#include "threads.hpp"

#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace growstack::handler {
namespace {

std::mutex life_cycle;

bool is_ours(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == on_fault;
}

bool in_force() noexcept {
  struct sigaction now {};
  return sigaction(SIGSEGV, nullptr, &now) == 0 && is_ours(now);
}

/// Set once our action is in place, cleared by uninstall. Under the lock.
bool action_installed = false;

struct sigaction our_action(const struct sigaction& previous) noexcept {
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  // Every signal, libc's internal ones too (sigfillset(3) would leave those out): nothing may run in between, and a
  // thread may not be cancelled there. A fault in the handler itself then kills at once, by SIGSEGV.
  std::memset(&action.sa_mask, 0xff, sizeof action.sa_mask);
  action.sa_flags = SA_SIGINFO     // the fault address and the registers
                    | SA_ONSTACK;  // the faulting stack has no room
  // A SIGSEGV that somebody sends interrupts system calls the way it did before us.
  const bool default_or_ignored =
      (previous.sa_flags & SA_SIGINFO) == 0 && (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN);
  action.sa_flags |= default_or_ignored ? SA_RESTART : previous.sa_flags & SA_RESTART;
  return action;
}

int install_action() noexcept {
  if (action_installed) {
    return 0;
  }
  struct sigaction previous {};
  if (sigaction(SIGSEGV, nullptr, &previous) != 0) {
    return errno;
  }
  set_previous_action(previous);  // before ours is in force: a fault may come at once
  const struct sigaction ours = our_action(previous);
  if (sigaction(SIGSEGV, &ours, nullptr) != 0) {
    return errno;
  }
  action_installed = true;
  return 0;
}

void hold_over_fork() noexcept {
  static const int once =
      pthread_atfork([] { life_cycle.lock(); }, [] { life_cycle.unlock(); }, [] { life_cycle.unlock(); });
  static_cast<void>(once);  // ENOMEM at worst: then a fork during install could leave the child unable to install
}

}  // namespace

LifeCycleLock::LifeCycleLock() noexcept : held_(life_cycle) {}

int install() noexcept {
  hold_over_fork();
  const LifeCycleLock lock;
  page_size();
  if (const int error = make_fork_wiped(); error != 0) {
    return error;
  }
  if (!action_installed) {
    warm_up_unwinder();
  }
  if (const int error = start_reporter_thread(); error != 0) {
    return error;
  }
  return install_action();
}

int start_helper() noexcept {
  const LifeCycleLock lock;
  if (fork_wiped() == nullptr) {
    return ENXIO;  // install() comes first
  }
  if (helper_is_reachable()) {
    return 0;
  }
  join_helper_thread();  // one whose pipe the program closed
  close_request_pipe();  // in a forked child: the parent's
  int read_end = -1;
  if (const int error = open_request_pipe(read_end); error != 0) {
    return error;
  }
  const int error = start_helper_thread(read_end);
  close(read_end);  // the helper has its own
  if (error != 0) {
    close_request_pipe();
  }
  return error;
}

int uninstall() noexcept {
  const LifeCycleLock lock;
  if (range_count() != 0) {
    return EBUSY;
  }
  int result = 0;
  if (action_installed) {
    if (in_force()) {
      sigaction(SIGSEGV, &previous_action(), nullptr);
      action_installed = false;
    } else {
      result = EPERM;
    }
  }
  ask_helper_to_end();
  close_request_pipe();  // a helper that could not be asked sees end-of-file
  join_helper_thread();
  end_reporter_thread();
  return result;
}

bool installed() noexcept { return in_force(); }

}  // namespace growstack::handler
