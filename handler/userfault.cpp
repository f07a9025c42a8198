#include <growstack/handler/userfault.hpp>

#include <growstack/handler/classify.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/handler/ranges.hpp>
#include <growstack/handler/report.hpp>

#include "fork_wiped.hpp"
#include "grow.hpp"
#include "life_cycle.hpp"
#include "threads.hpp"
#include "userfault_threads.hpp"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <new>
#include <vector>

namespace growstack::handler {
namespace {

constexpr std::array kinds{UserfaultKind::signal, UserfaultKind::monitor};

std::size_t index_of(UserfaultKind kind) noexcept { return static_cast<std::size_t>(kind); }

// ---- the descriptor --------------------------------------------------------------------------------------------------

/// -1 for none, in a forked child above all.
int descriptor_of(UserfaultKind kind) noexcept {
  ForkWiped* const shared = fork_wiped();
  return shared == nullptr ? -1 : shared->userfault_descriptors[index_of(kind)].load(std::memory_order_acquire) - 1;
}

/// Written before the descriptor is, under the lock; read by anyone after.
std::atomic<bool> monitor_serves_system_calls{false};

constexpr int usual_flags = O_CLOEXEC | O_NONBLOCK;

int open_by_system_call(int flags) noexcept { return static_cast<int>(syscall(SYS_userfaultfd, usual_flags | flags)); }

/// Linux 6.1; a matter of file permissions, not of a sysctl, and open where seccomp forbids the system call.
int open_by_device() noexcept {
  const int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
  if (device < 0) {
    return -1;
  }
  const int descriptor = ioctl(device, USERFAULTFD_IOC_NEW, usual_flags);
  close(device);
  return descriptor;
}

/// Asks for no more than is needed. EINVAL: before Linux 5.11 there was no such flag, and no need of a privilege.
int open_for_signals() noexcept {
  int descriptor = open_by_system_call(UFFD_USER_MODE_ONLY);
  if (descriptor < 0 && errno == EINVAL) {
    descriptor = open_by_system_call(0);
  }
  return descriptor < 0 && errno == EPERM ? open_by_device() : descriptor;
}

int open_for_monitor() noexcept {
  int descriptor = open_by_system_call(0);
  if (descriptor < 0) {
    descriptor = open_by_device();
  }
  monitor_serves_system_calls.store(descriptor >= 0, std::memory_order_relaxed);
  return descriptor < 0 ? open_by_system_call(UFFD_USER_MODE_ONLY) : descriptor;
}

/// A new userfaultfd, ready for use, or -1 with errno.
int open_userfault(UserfaultKind kind) noexcept {
  const int descriptor = kind == UserfaultKind::signal ? open_for_signals() : open_for_monitor();
  if (descriptor < 0) {
    return -1;
  }
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kind == UserfaultKind::signal ? UFFD_FEATURE_SIGBUS : 0;
  if (ioctl(descriptor, UFFDIO_API, &api) != 0) {
    const int error = errno;
    close(descriptor);
    errno = error;
    return -1;
  }
  return descriptor;
}

int register_pages(int descriptor, std::uintptr_t begin, std::size_t size) noexcept {
  uffdio_register wanted{};
  wanted.range = {begin, size};
  wanted.mode = UFFDIO_REGISTER_MODE_MISSING;
  return ioctl(descriptor, UFFDIO_REGISTER, &wanted) == 0 ? 0 : errno;
}

// ---- filling ---------------------------------------------------------------------------------------------------------

/// Never written to: reading it gives the kernel's page of zeros.
alignas(64) const volatile char zeros[std::size_t{256} * 1024] = {};

/// One ioctl's result as bytes from its begin on that are there now, by us or before; 0 with errno for none.
std::size_t bytes_there(int result, std::int64_t done, std::size_t wanted) noexcept {
  if (result == 0) {
    return wanted;
  }
  if (errno == EAGAIN && done > 0) {
    return static_cast<std::size_t>(done);
  }
  return errno == EEXIST ? page_size() : 0;
}

std::size_t map_page_of_zeros(int descriptor, std::uintptr_t begin, std::uintptr_t end) noexcept {
  uffdio_zeropage zero{};
  zero.range = {begin, end - begin};
  zero.mode = UFFDIO_ZEROPAGE_MODE_DONTWAKE;  // serve() does, when the limit says what is there
  const int result = ioctl(descriptor, UFFDIO_ZEROPAGE, &zero);
  return bytes_there(result, zero.zeropage, end - begin);
}

std::size_t copy_zeros(int descriptor, std::uintptr_t begin, std::uintptr_t end) noexcept {
  uffdio_copy copy{};
  copy.dst = begin;
  copy.src = reinterpret_cast<std::uintptr_t>(&zeros[0]);
  copy.len = std::min<std::size_t>(end - begin, sizeof zeros);
  copy.mode = UFFDIO_COPY_MODE_DONTWAKE;
  const int result = ioctl(descriptor, UFFDIO_COPY, &copy);
  return bytes_there(result, copy.copy, copy.len);
}

void wake(int descriptor, std::uintptr_t page) noexcept {
  uffdio_range range{page, page_size()};
  ioctl(descriptor, UFFDIO_WAKE, &range);
}

// ---- the thread ------------------------------------------------------------------------------------------------------

/// Between start_thread() and the new thread: descriptors going in, 0 or an errno coming out. Static, because the new thread
/// may still be about to wake us when we have seen its answer.
struct Start {
  int userfault = -1;
  int stop = -1;  ///< an eventfd: closing the program's copy of it ends nothing
  std::atomic<int> result{pending};
  static constexpr int pending = -1;
};
std::array<Start, kinds.size()> starts;
std::array<pthread_t, kinds.size()> threads;

/// The monitor cannot tell whose stack pointer is where: every touch above the floor is growth.
int serve_slot(const Range& range, SlotRecord& slot, std::uintptr_t address) noexcept {
  if (address >= slot.limit.load(std::memory_order_acquire)) {
    const std::uintptr_t page = page_down(address);
    return range.operations->commit(range, slot, {page, page + page_size()});
  }
  count_growth(slot, false);
  return grow_here(range, slot, address);
}

/// Every thread that waits sent a message of its own, and waits until this has been called for it.
void serve(int descriptor, std::uintptr_t address) noexcept {
  const std::uintptr_t page = page_down(address);
  // Without a slot its stack has ended meanwhile: the touch is tried again, in vain.
  if (const PinnedSlot pinned(address); pinned && serve_slot(pinned.range(), pinned.slot(), address) != 0) {
    // Now one that may not be touched: the touch is tried again and raises SIGSEGV.
    mprotect(reinterpret_cast<void*>(page), page_size(), PROT_NONE);
  }
  wake(descriptor, page);
}

/// Until asked to end. The descriptor of the kind `signal` never has anything to read: its thread only keeps it.
void serve_userfaults(int userfault, int stop) noexcept {
  std::array<uffd_msg, 16> messages;
  for (;;) {
    std::array<pollfd, 2> sources{{{userfault, POLLIN, 0}, {stop, POLLIN, 0}}};
    if (poll(sources.data(), sources.size(), -1) < 0 && errno != EINTR) {
      return;
    }
    if (sources[1].revents != 0) {
      return;
    }
    const ssize_t bytes = syscall(SYS_read, userfault, messages.data(), sizeof messages);
    for (std::size_t index = 0; bytes > 0 && index < static_cast<std::size_t>(bytes) / sizeof(uffd_msg); ++index) {
      if (messages[index].event == UFFD_EVENT_PAGEFAULT) {
        serve(userfault, messages[index].arg.pagefault.address);
      }
    }
  }
}

void* thread_body(void* argument) noexcept {
  auto& start = *static_cast<Start*>(argument);
  const int userfault = start.userfault;
  const int stop = start.stop;
  settle_service_thread(&start == &starts[index_of(UserfaultKind::monitor)] ? "stack-monitor" : "stack-keeper");
  const int error = keep_descriptors_only({std::min(userfault, stop), std::max(userfault, stop)});
  start.result.store(error, std::memory_order_release);  // the last use of `start`, but for the wake
  start.result.notify_one();
  if (error == 0) {
    serve_userfaults(userfault, stop);
    syscall(SYS_close, userfault);  // bare: ThreadSanitizer believes that all threads share one table
    syscall(SYS_close, stop);
  }
  return nullptr;
}

int start_thread(UserfaultKind kind, int userfault, int stop) noexcept {
  Start& start = starts[index_of(kind)];
  start.userfault = userfault;
  start.stop = stop;
  start.result.store(Start::pending, std::memory_order_relaxed);
  pthread_t& thread = threads[index_of(kind)];
  if (const int error = start_service_thread(thread, thread_body, &start); error != 0) {
    return error;
  }
  start.result.wait(Start::pending, std::memory_order_acquire);
  const int error = start.result.load(std::memory_order_acquire);
  if (error != 0) {
    pthread_join(thread, nullptr);
    return error;
  }
  fork_wiped()->userfault_joinable[index_of(kind)].store(1, std::memory_order_relaxed);
  return 0;
}

// ---- what a forked child watches anew --------------------------------------------------------------------------------

struct Stretch {
  std::uintptr_t begin;
  std::uintptr_t end;
};

/// Of the kind `signal`, ascending and apart from each other. Under the lock.
std::vector<Stretch>& watched_by_signal() {
  static auto& all = *new std::vector<Stretch>;  // never destroyed: stacks with static storage may outlive it
  return all;
}

void remember(std::uintptr_t begin, std::uintptr_t end) {
  std::vector<Stretch>& all = watched_by_signal();
  auto next = std::lower_bound(all.begin(), all.end(), begin,
                               [](const Stretch& each, std::uintptr_t address) { return each.end < address; });
  if (next != all.end() && next->begin <= end) {
    next->begin = std::min(next->begin, begin);
    next->end = std::max(next->end, end);
    const auto after = next + 1;
    if (after != all.end() && after->begin <= next->end) {
      next->end = after->end;
      all.erase(after);
    }
  } else {
    all.insert(next, {begin, end});
  }
}

void forget(std::uintptr_t begin, std::uintptr_t end) {
  std::vector<Stretch>& all = watched_by_signal();
  std::vector<Stretch> kept;
  kept.reserve(all.size() + 1);
  for (const Stretch& each : all) {
    if (each.begin < begin && each.begin < each.end) {
      kept.push_back({each.begin, std::min(each.end, begin)});
    }
    if (each.end > end) {
      kept.push_back({std::max(each.begin, end), each.end});
    }
  }
  all.swap(kept);
}

/// In the child, before fork(2) returns: its copy of the memory is not watched by anybody, and the guards are gone with
/// that. No thread keeps the new descriptor: most children exec soon.
void watch_in_child() noexcept {
  const LifeCycleLock lock;
  if (fork_wiped() == nullptr || watched_by_signal().empty()) {
    return;
  }
  const int descriptor = open_userfault(UserfaultKind::signal);
  if (descriptor < 0) {
    return;  // the kernel fills, and there is no guard: nothing a child could do about it
  }
  for (const Stretch& each : watched_by_signal()) {
    static_cast<void>(register_pages(descriptor, each.begin, each.end - each.begin));
  }
  fork_wiped()->userfault_descriptors[index_of(UserfaultKind::signal)].store(descriptor + 1, std::memory_order_release);
}

/// When the program is loaded, after the lock's own (life_cycle.cpp): in a child the lock is free then.
struct WatchInChild {
  WatchInChild() noexcept {
    static_cast<void>(watched_by_signal());
    static_cast<void>(pthread_atfork(nullptr, nullptr, watch_in_child));
  }
};
[[gnu::init_priority(102)]] const WatchInChild watch_in_child_too;

}  // namespace

int start_userfault(UserfaultKind kind) noexcept {
  const LifeCycleLock lock;
  ForkWiped* const shared = fork_wiped();
  if (shared == nullptr) {
    return ENXIO;  // install() comes first
  }
  if (descriptor_of(kind) >= 0) {
    return 0;
  }
  const int userfault = open_userfault(kind);
  if (userfault < 0) {
    return errno;
  }
  const int stop = eventfd(0, EFD_CLOEXEC);
  int error = stop < 0 ? errno : start_thread(kind, userfault, stop);
  if (error == 0) {
    shared->userfault_descriptors[index_of(kind)].store(userfault + 1, std::memory_order_release);
    return 0;
  }
  close(userfault);
  if (stop >= 0) {
    close(stop);
  }
  return error;
}

int watch_missing_pages(UserfaultKind kind, std::uintptr_t begin, std::size_t size) noexcept {
  const LifeCycleLock lock;
  if (const int error = register_pages(descriptor_of(kind), begin, size); error != 0) {
    return error;
  }
  if (kind == UserfaultKind::signal) {
    try {
      remember(begin, begin + size);
    } catch (const std::bad_alloc&) {
      return ENOMEM;
    }
  }
  return 0;
}

void forget_missing_pages(std::uintptr_t begin, std::size_t size) noexcept {
  const LifeCycleLock lock;
  try {
    forget(begin, begin + size);
  } catch (const std::bad_alloc&) {
    // A child then tries to watch what is not there any more, and is refused.
  }
}

int fill_missing_pages(UserfaultKind kind, Filling with, std::uintptr_t begin, std::uintptr_t end) noexcept {
  const int descriptor = descriptor_of(kind);
  if (descriptor < 0 && kind == UserfaultKind::monitor) {
    return 0;  // in a forked child, where the kernel fills
  }
  for (std::uintptr_t at = begin; at < end;) {
    const std::size_t filled =
        with == Filling::page_of_zeros ? map_page_of_zeros(descriptor, at, end) : copy_zeros(descriptor, at, end);
    if (filled == 0 && errno == ENOENT) {
      return 0;  // nobody watches it, in a forked child: the kernel fills
    }
    if (filled == 0 && errno != EAGAIN) {
      return errno;
    }
    at += filled;
  }
  return 0;
}

bool serves_system_calls() noexcept { return monitor_serves_system_calls.load(std::memory_order_relaxed); }

void end_userfault_threads() noexcept {
  ForkWiped* const shared = fork_wiped();
  if (shared == nullptr) {
    return;
  }
  for (const UserfaultKind kind : kinds) {
    const std::size_t index = index_of(kind);
    if (shared->userfault_joinable[index].exchange(0, std::memory_order_relaxed) != 0) {
      const std::uint64_t one = 1;
      const int stop = starts[index].stop;
      if (write(stop, &one, sizeof one) == static_cast<ssize_t>(sizeof one)) {
        pthread_join(threads[index], nullptr);
        close(stop);
      } else {
        pthread_detach(threads[index]);  // the program closed the descriptor
      }
    }
    if (const int descriptor = shared->userfault_descriptors[index].exchange(0, std::memory_order_relaxed) - 1;
        descriptor >= 0) {
      close(descriptor);
    }
  }
}

}  // namespace growstack::handler
