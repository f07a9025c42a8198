// The lock, and what a fork(2) does here: it holds the lock, and watches memory anew in the child.
// Threads of the parent need nothing, because the words that name them are wiped
// (anywhere/fork_wiped.hpp). Both stand in one file, because a linker takes from an archive only
// files that define what somebody names.
#include "process/life_cycle_lock.hpp"

#include <growstack/handler/commit_ahead.hpp>
#include <growstack/handler/init_order.hpp>

#include "anywhere/fork_wiped.hpp"
#include "fault/request.hpp"
#include "process/userfault.hpp"

#include <pthread.h>

namespace growstack::handler {
namespace {

constinit std::mutex mutex;

void before_fork() noexcept { mutex.lock(); }

void in_parent() noexcept { mutex.unlock(); }

void in_child() noexcept {
  note_forked_process();
  request_pipe.close();  // the parent's helper is nothing to a child
  watch_in_child();
  mutex.unlock();
}

/// Registers when the program is loaded, before lib/ does. Handlers that prepare for a fork run in
/// the reverse order, and lib/ takes its locks before this one.
struct HoldOverFork {
  HoldOverFork() noexcept {
    prepare_to_watch_in_child();
    // ENOMEM at worst. Then a child that is forked while another thread starts something here could
    // not start anything.
    static_cast<void>(pthread_atfork(before_fork, in_parent, in_child));
  }
};
[[gnu::init_priority(init_foundations)]] const HoldOverFork hold_over_fork;

}  // namespace

// Under the lock, threads are created and actions changed.
LifeCycleLock::LifeCycleLock() noexcept : held_(mutex) { commit_for_c_library(); }

}  // namespace growstack::handler
