// Install and uninstall: what is global in this process, and how it is put back.
#include "process/install.hpp"

#include <growstack/handler/commit_ahead.hpp>
#include <growstack/handler/handler.hpp>
#include <growstack/handler/init_order.hpp>
#include <growstack/handler/ranges.hpp>

#include "anywhere/fork_wiped.hpp"
#include "anywhere/keep_handler.hpp"
#include "fault/trace.hpp"
#include "process/chain.hpp"
#include "process/idle.hpp"
#include "process/life_cycle_lock.hpp"
#include "process/request_pipe.hpp"
#include "process/symbolizing.hpp"
#include "process/userfault.hpp"
#include "threads/idle_looks.hpp"
#include "threads/symbolizer.hpp"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <iterator>
#include <mutex>

namespace growstack::handler {
namespace {

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

int leave(Watched& target) noexcept {
  const int error = target.installed ? leave_chain(target.signal) : 0;
  if (error == 0) {
    target.installed = false;
  }
  return error;
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
  const int error = enter_chain(signal);
  target->installed = target->installed || error == 0;
  return error;
}

int uninstall() noexcept {
  const std::lock_guard no_look(idle_lock());
  give_all_idle_back();
  const LifeCycleLock lock;
  if (range_count() != 0) {
    return EBUSY;
  }
  int result = 0;
  for (Watched& each : watched) {
    const int error = leave(each);
    result = result == 0 ? error : result;
  }
  end_helper();
  end_userfaults();
  the_symbolizer.end();
  return result;
}

bool installed(int signal) noexcept {
  if (is_kept(signal)) {
    return true;
  }
  commit_for_c_library();
  return is_first_in_chain(signal);
}

bool is_kept(int signal) noexcept {
  const KeepHandler* const component = keep_component();
  return component != nullptr && watches(signal) && component->first(signal) != nullptr;
}

bool watches(int signal) noexcept {
  const Watched* const found = find(signal);
  return found != nullptr && found->installed.load(std::memory_order_relaxed);
}

}  // namespace growstack::handler
