// Install and uninstall: what is global in this process, and how it is put back.
#include "process/life_cycle_lock.hpp"

#include <growstack/handler/handler.hpp>
#include <growstack/handler/init_order.hpp>
#include <growstack/handler/ranges.hpp>

#include "anywhere/fork_wiped.hpp"
#include "fault/forward.hpp"
#include "fault/on_fault.hpp"
#include "fault/trace.hpp"
#include "fault/request.hpp"
#include "threads/service_thread.hpp"
#include "process/userfault.hpp"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <iterator>

namespace growstack::handler {
namespace {

constinit std::mutex life_cycle;

/// When the program is loaded, before the library's own (lib/arena.cpp): handlers that prepare for
/// a fork run in the reverse order, and the library takes its lock before this one.
struct HoldOverFork {
  HoldOverFork() noexcept {
    // ENOMEM at worst: then a child forked while another thread starts something here could not
    // start anything.
    static_cast<void>(pthread_atfork([] { life_cycle.lock(); }, [] { life_cycle.unlock(); },
                                     [] { life_cycle.unlock(); }));
  }
};
[[gnu::init_priority(init_foundations)]] const HoldOverFork hold_over_fork;

/// A plugin with a copy of this library inside stays in the process when it is closed: the signal's
/// action, threads and what is to be done when a thread ends are code of ours. When it is loaded,
/// because install() would have to take the loader's lock, which a thread may hold that waits for
/// ours. (The shared library is linked with -z nodelete, which is the same.)
struct StayLoaded {
  StayLoaded() noexcept {
    Dl_info unused{};
    link_map* module = nullptr;
    if (dladdr1(&life_cycle, &unused, reinterpret_cast<void**>(&module), RTLD_DL_LINKMAP) == 0 ||
        module == nullptr) {
      return;
    }
    if (module->l_name[0] != '\0') {  // the program itself has no name here, and no end
      dlopen(module->l_name, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    }
  }
};
[[gnu::init_priority(init_foundations)]] const StayLoaded stay_loaded;

bool is_ours(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == on_fault;
}

bool in_force(int signal) noexcept {
  struct sigaction now {};
  return sigaction(signal, nullptr, &now) == 0 && is_ours(now);
}

/// SIGBUS is watched only for ranges whose faults come so: what a program does with it otherwise is
/// its own.
struct Watched {
  int signal;
  /// Set once our action is in place, cleared by uninstall. Written under the lock; read by
  /// watches(): a stale value costs a thread that is attached just now its unblocked SIGBUS.
  std::atomic<bool> installed{false};
};
Watched watched[]{{SIGSEGV}, {SIGBUS}};

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
  // in between, and no asynchronous cancellation may strike. (A deferred one cannot: the handler
  // calls no cancellation point.) A fault in the handler itself then kills at once, by SIGSEGV.
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
  // A handler that somebody put over ours may call ours: it stays. The default action calls nobody.
  if (target.installed && !is_default_or_ignored(previous)) {
    return 0;
  }
  if (!is_ours(previous)) {  // a copy of ours that somebody put back calls nobody
    set_previous_action(target.signal,
                        previous);  // before ours is in force: a fault may come at once
  }
  const struct sigaction ours = our_action(previous);
  if (sigaction(target.signal, &ours, nullptr) != 0) {
    return errno;
  }
  target.installed = true;
  return 0;
}

/// EPERM if somebody else's handler is in force: it may call ours, which stays as it is.
int put_back_action(Watched& target) noexcept {
  if (!target.installed) {
    return 0;
  }
  if (!in_force(target.signal)) {
    return EPERM;
  }
  sigaction(target.signal, &previous_action(target.signal), nullptr);
  target.installed = false;
  return 0;
}

}  // namespace

LifeCycleLock::LifeCycleLock() noexcept : held_(life_cycle) {}

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
  if (const int error = start_reporter_thread(); error != 0) {
    return error;
  }
  return install_action(*target);
}

int start_helper() noexcept {
  const LifeCycleLock lock;
  if (fork_wiped() == nullptr) {
    return ENXIO;  // install() comes first
  }
  if (helper_is_reachable()) {
    return 0;
  }
  // Here is one only if the program closed its pipe. It sees end-of-file, unless a forked child has
  // the write end, too.
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
  for (Watched& each : watched) {
    const int error = put_back_action(each);
    result = result == 0 ? error : result;
  }
  if (ask_helper_to_end()) {
    join_helper_thread();
  } else {
    abandon_helper_thread();
  }
  close_request_pipe();
  end_userfault_threads();
  end_reporter_thread();
  return result;
}

bool installed(int signal) noexcept { return in_force(signal); }

bool watches(int signal) noexcept {
  const Watched* const found = find(signal);
  return found != nullptr && found->installed.load(std::memory_order_relaxed);
}

}  // namespace growstack::handler
