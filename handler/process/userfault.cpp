// Userfaultfds: starting them, and registering the memory that they watch.
#include "process/userfault.hpp"

#include <growstack/handler/userfault.hpp>

#include "anywhere/fork_wiped.hpp"
#include "anywhere/userfault_calls.hpp"
#include "anywhere/userfault_open.hpp"
#include "fault/fill_missing_pages.hpp"
#include "process/address_set.hpp"
#include "process/life_cycle_lock.hpp"
#include "threads/keeper.hpp"
#include "threads/monitor.hpp"

#include <cerrno>
#include <new>

namespace growstack::handler {
namespace {

/// The thread that holds the userfaultfd in a table of its own.
ServiceThread& thread_of(UserfaultKind kind) noexcept {
  return kind == UserfaultKind::signal ? static_cast<ServiceThread&>(the_keeper) : the_monitor;
}

/// The userfaultfds as a fork leaves them, for the child to close: with its parent's it could fill
/// its parent's memory. Under the life-cycle lock.
constinit OwnDescriptor open_at_fork[2];

/// What UserfaultKind::signal watches, so that a forked child can watch it anew. Under the
/// life-cycle lock. The kernel fills in a child what is missing here for want of memory.
AddressSet& watched_by_signal() {
  static auto& all = *new AddressSet;  // never destroyed: stacks with static storage may outlive it
  return all;
}

[[nodiscard]] int remember(UserfaultKind kind, int userfault) noexcept {
  const int error = userfault_of(kind).set(userfault);
  return error == 0 ? open_at_fork[static_cast<std::size_t>(kind)].set(userfault) : error;
}

void watch_again(int userfault) noexcept {
  for (const AddressInterval& each : watched_by_signal().all()) {
    static_cast<void>(register_missing(userfault, each.begin, each.end - each.begin));
  }
}

/// Under the life-cycle lock. Otherwise as start_userfault().
int start_under_lock(UserfaultKind kind, bool& is_refused) noexcept {
  is_refused = false;
  if (fork_wiped() == nullptr) {
    return ENXIO;  // install() comes first
  }
  ServiceThread& thread = thread_of(kind);
  OwnDescriptor& ours = userfault_of(kind);
  if (thread.is_started()) {
    if (ours.verified() >= 0) {
      return 0;
    }
    thread.abandon();  // The program closed ours. The thread's own is for what is watched already.
  }
  if (const int error = prepare_filling(); error != 0) {
    return error;
  }
  // A forked child may have a userfaultfd without a thread (watch_in_child()).
  const int found = ours.verified();
  const int userfault = found >= 0 ? found : open_userfault(kind);
  if (userfault < 0) {
    is_refused = errno != EMFILE && errno != ENFILE && errno != ENOMEM;
    return errno;
  }
  int error = thread.start(userfault);
  if (error == 0) {
    if (kind == UserfaultKind::signal) {
      watch_again(userfault);
    }
    error = remember(kind, userfault);
  }
  if (error != 0) {
    thread.end();
    if (found < 0) {
      close_quietly(userfault);
    }
  }
  return error;
}

}  // namespace

int start_userfault(UserfaultKind kind, bool& is_refused) noexcept {
  const LifeCycleLock lock;
  return start_under_lock(kind, is_refused);
}

int watch_missing_pages(UserfaultKind kind, std::uintptr_t begin, std::size_t size) noexcept {
  const LifeCycleLock lock;
  bool is_refused = false;
  // Anew, if the program has closed our descriptor since the last time.
  int error = start_under_lock(kind, is_refused);
  if (error == 0) {
    error = register_missing(userfault_of(kind).number(), begin, size);
  }
  if (error != 0) {
    return error;
  }
  if (kind == UserfaultKind::signal) {
    try {
      watched_by_signal().add({begin, begin + size});
    } catch (const std::bad_alloc&) {
      return ENOMEM;
    }
  }
  return 0;
}

void forget_missing_pages(std::uintptr_t begin, std::size_t size) noexcept {
  const LifeCycleLock lock;
  watched_by_signal().remove({begin, begin + size});
}

void end_userfaults() noexcept {
  if (fork_wiped() == nullptr) {
    return;
  }
  for (const UserfaultKind kind : {UserfaultKind::signal, UserfaultKind::monitor}) {
    thread_of(kind).end();
    userfault_of(kind).close();
  }
}

void prepare_to_watch_in_child() noexcept { static_cast<void>(watched_by_signal()); }

// The child's copy of the memory is not watched by anybody. No thread keeps the new userfaultfd
// until the child makes a stack, because most children exec soon. If none can be had, the kernel
// fills, and guard markers are the guard if the kernel has those.
void watch_in_child() noexcept {
  for (OwnDescriptor& parents : open_at_fork) {
    parents.close();
  }
  if (fork_wiped() == nullptr || watched_by_signal().all().empty()) {
    return;
  }
  const int userfault = open_userfault(UserfaultKind::signal);
  if (userfault < 0) {
    return;
  }
  watch_again(userfault);
  if (remember(UserfaultKind::signal, userfault) != 0) {
    close_quietly(userfault);
  }
}

}  // namespace growstack::handler
