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

/// What UserfaultKind::signal watches, so that a forked child can watch it anew. Under the
/// life-cycle lock. The kernel fills in a child what is missing here for want of memory.
AddressSet& watched_by_signal() {
  static auto& all = *new AddressSet;  // never destroyed: stacks with static storage may outlive it
  return all;
}

void watch_again(int userfault) noexcept {
  for (const AddressInterval& each : watched_by_signal().all()) {
    static_cast<void>(register_missing(userfault, each.begin, each.end - each.begin));
  }
}

}  // namespace

int start_userfault(UserfaultKind kind, bool& is_refused) noexcept {
  is_refused = false;
  const LifeCycleLock lock;
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
    error = ours.set(userfault);
  }
  if (error != 0) {
    thread.end();
    if (found < 0) {
      close_userfault(userfault);
    }
  }
  return error;
}

int watch_missing_pages(UserfaultKind kind, std::uintptr_t begin, std::size_t size) noexcept {
  const LifeCycleLock lock;
  const int userfault = fork_wiped() == nullptr ? -1 : userfault_of(kind).number();
  if (const int error = register_missing(userfault, begin, size); error != 0) {
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
  if (fork_wiped() == nullptr || watched_by_signal().all().empty()) {
    return;
  }
  const int userfault = open_userfault(UserfaultKind::signal);
  if (userfault < 0) {
    return;
  }
  watch_again(userfault);
  if (userfault_of(UserfaultKind::signal).set(userfault) != 0) {
    close_userfault(userfault);
  }
}

}  // namespace growstack::handler
