// Install and uninstall: what is global in this process, and how it is put back.
#include "process/install.hpp"

#include <growstack/handler/commit_ahead.hpp>
#include <growstack/handler/handler.hpp>
#include <growstack/handler/init_order.hpp>
#include <growstack/handler/ranges.hpp>

#include "anywhere/fork_wiped.hpp"
#include "fault/forward.hpp"
#include "fault/on_fault.hpp"
#include "fault/trace.hpp"
#include "process/life_cycle_lock.hpp"
#include "process/request_pipe.hpp"
#include "process/symbolizing.hpp"
#include "process/userfault.hpp"
#include "threads/symbolizer.hpp"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <iterator>

namespace growstack::handler {
namespace {

bool is_ours(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == on_fault;
}

bool in_force(int signal) noexcept {
  struct sigaction now {};
  return sigaction(signal, nullptr, &now) == 0 && is_ours(now);
}

/// A signal that we may watch. SIGBUS is watched only for ranges whose faults raise it: what a
/// program does with it otherwise is its own.
struct Watched {
  int signal;
  /// Written under the life-cycle lock; read by watches(). A stale value costs a thread that is
  /// being attached its unblocked SIGBUS.
  std::atomic<bool> installed{false};
};
Watched watched[]{{SIGSEGV}, {SIGBUS}};

/// Keeps a plugin that has a copy of this library inside in the process when the plugin is closed.
/// The signal's action, our threads, and what is to be done when a thread ends are code of ours.
/// This happens when the plugin is loaded: install() would have to take the loader's lock, which a
/// thread may hold that waits for ours. (The shared library is linked with -z nodelete, to the same
/// effect.)
struct StayLoaded {
  StayLoaded() noexcept {
    Dl_info unused{};
    link_map* module = nullptr;
    if (dladdr1(&watched, &unused, reinterpret_cast<void**>(&module), RTLD_DL_LINKMAP) == 0 ||
        module == nullptr) {
      return;
    }
    if (module->l_name[0] != '\0') {  // the program itself has no name here, and no end
      dlopen(module->l_name, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    }
  }
};
[[gnu::init_priority(init_foundations)]] const StayLoaded stay_loaded;

Watched* find(int signal) noexcept {
  Watched* const found =
      std::find_if(std::begin(watched), std::end(watched),
                   [signal](const Watched& each) { return each.signal == signal; });
  return found == std::end(watched) ? nullptr : found;
}

bool is_default_or_ignored(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) == 0 &&
         (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN);
}

struct sigaction our_action(const struct sigaction& previous) noexcept {
  struct sigaction action {};
  action.sa_sigaction = on_fault;
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

int install_action(Watched& target) noexcept {
  struct sigaction previous {};
  if (sigaction(target.signal, nullptr, &previous) != 0) {
    return errno;
  }
  // A handler that somebody put over ours may call ours, so it stays. The default action calls
  // nobody.
  if (target.installed && !is_default_or_ignored(previous)) {
    return 0;
  }
  if (!is_ours(previous)) {  // a copy of ours that somebody put back calls nobody
    // Before ours is in force, because a fault may come at once.
    set_previous_action(target.signal, previous);
  }
  const struct sigaction ours = our_action(previous);
  if (sigaction(target.signal, &ours, nullptr) != 0) {
    return errno;
  }
  target.installed = true;
  return 0;
}

/// Returns EPERM if somebody else's handler is in force. It may call ours, which stays as it is.
int put_back_action(Watched& target) noexcept {
  if (!target.installed) {
    return 0;
  }
  if (!in_force(target.signal)) {
    return EPERM;
  }
  const struct sigaction previous = previous_action(target.signal);
  sigaction(target.signal, &previous, nullptr);
  target.installed = false;
  return 0;
}

}  // namespace

int install(int signal) noexcept {
  Watched* const target = find(signal);
  if (target == nullptr) {
    return EINVAL;
  }
  const LifeCycleLock lock;
  if (const int error = make_fork_wiped(); error != 0) {
    return error;
  }
  if (!target->installed) {
    warm_up_unwinder();
  }
  start_symbolizer();
  return install_action(*target);
}

int uninstall() noexcept {
  const LifeCycleLock lock;
  if (range_count() != 0) {
    return EBUSY;
  }
  int result = 0;
  for (Watched& each : watched) {
    const int error = put_back_action(each);
    result = result == 0 ? error : result;
  }
  end_helper();
  end_userfaults();
  the_symbolizer.end();
  return result;
}

bool installed(int signal) noexcept {
  commit_for_c_library();
  return in_force(signal);
}

bool watches(int signal) noexcept {
  const Watched* const found = find(signal);
  return found != nullptr && found->installed.load(std::memory_order_relaxed);
}

}  // namespace growstack::handler
