// Install and uninstall: what is global in this process, and how it is put back.
#include "life_cycle.hpp"

#include <growstack/handler/handler.hpp>
#include <growstack/handler/ranges.hpp>

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

constinit std::mutex life_cycle;

/// When the program is loaded, before the library's own (lib/arena.cpp): handlers that prepare for a fork run in the reverse
/// order, and the library takes its lock before this one.
struct HoldOverFork {
  HoldOverFork() noexcept {
    // ENOMEM at worst: then a child forked while another thread starts something here could not start anything.
    static_cast<void>(pthread_atfork([] { life_cycle.lock(); }, [] { life_cycle.unlock(); }, [] { life_cycle.unlock(); }));
  }
};
[[gnu::init_priority(101)]] const HoldOverFork hold_over_fork;

bool is_ours(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == on_fault;
}

bool in_force() noexcept {
  struct sigaction now {};
  return sigaction(SIGSEGV, nullptr, &now) == 0 && is_ours(now);
}

/// Set once our action is in place, cleared by uninstall. Under the lock.
bool action_installed = false;

bool is_default_or_ignored(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) == 0 && (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN);
}

struct sigaction our_action(const struct sigaction& previous) noexcept {
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  // Every signal, libc's internal ones too (sigfillset(3) would leave those out): nothing may run in between, and a
  // thread may not be cancelled there. A fault in the handler itself then kills at once, by SIGSEGV.
  std::memset(&action.sa_mask, 0xff, sizeof action.sa_mask);
  action.sa_flags = SA_SIGINFO     // the fault address and the registers
                    | SA_ONSTACK;  // the faulting stack has no room
  // A SIGSEGV that somebody sends interrupts system calls the way it did before us.
  action.sa_flags |= is_default_or_ignored(previous) ? SA_RESTART : previous.sa_flags & SA_RESTART;
  return action;
}

int install_action() noexcept {
  struct sigaction previous {};
  if (sigaction(SIGSEGV, nullptr, &previous) != 0) {
    return errno;
  }
  // A handler that somebody put over ours may call ours: it stays. The default action calls nobody.
  if (action_installed && !is_default_or_ignored(previous)) {
    return 0;
  }
  set_previous_action(previous);  // before ours is in force: a fault may come at once
  const struct sigaction ours = our_action(previous);
  if (sigaction(SIGSEGV, &ours, nullptr) != 0) {
    return errno;
  }
  action_installed = true;
  return 0;
}

}  // namespace

LifeCycleLock::LifeCycleLock() noexcept : held_(life_cycle) {}

int install() noexcept {
  const LifeCycleLock lock;
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
  // Here is one only if the program closed its pipe. It sees end-of-file, unless a forked child has the write end, too.
  abandon_helper_thread();
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
  if (ask_helper_to_end()) {
    join_helper_thread();
  } else {
    abandon_helper_thread();
  }
  close_request_pipe();
  end_reporter_thread();
  return result;
}

bool installed() noexcept { return in_force(); }

}  // namespace growstack::handler
