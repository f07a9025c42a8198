#include <growstack/handler/userfault.hpp>

#include <growstack/handler/classify.hpp>
#include <growstack/handler/init_order.hpp>
#include <growstack/handler/name_memory.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/handler/ranges.hpp>
#include <growstack/handler/report.hpp>

#include "anywhere/fork_wiped.hpp"
#include "anywhere/futex.hpp"
#include "fault/grow.hpp"
#include "process/life_cycle_lock.hpp"
#include "anywhere/raw_line.hpp"
#include "process/address_set.hpp"
#include "threads/service_thread.hpp"
#include "process/userfault.hpp"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <new>

namespace growstack::handler {
namespace {

constexpr std::array kinds{UserfaultKind::signal, UserfaultKind::monitor};

std::size_t index_of(UserfaultKind kind) noexcept { return static_cast<std::size_t>(kind); }

// ---- the descriptor -----------------------------------------------------------------------------

/// -1 for none, in a forked child above all.
int descriptor_of(UserfaultKind kind) noexcept {
  ForkWiped* const shared = fork_wiped();
  return shared == nullptr
             ? -1
             : shared->userfault_descriptors[index_of(kind)].load(std::memory_order_acquire) - 1;
}

/// What the descriptor was when we opened it: programs close descriptors they do not know, and get
/// the number again for a file of theirs. (Since Linux 5.12 each userfaultfd has an inode of its
/// own.) An ioctl on such a file does no harm; closing it would. Under the lock.
struct Identity {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const Identity&) const = default;
};
std::array<Identity, kinds.size()> identities;

Identity identity_of(int descriptor) noexcept {
  struct stat found {};
  return fstat(descriptor, &found) == 0 ? Identity{found.st_dev, found.st_ino} : Identity{};
}

bool is_still_ours(UserfaultKind kind) noexcept {
  const int descriptor = descriptor_of(kind);
  return descriptor >= 0 && identity_of(descriptor) == identities[index_of(kind)];
}

/// Written before the descriptor is, under the lock; read by anyone after.
std::atomic<bool> monitor_serves_system_calls{false};

int open_by_system_call(int flags) noexcept {
  return static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | flags));
}

/// Linux 6.1; a matter of file permissions, not of a sysctl, and open where seccomp forbids the
/// system call.
int open_by_device() noexcept {
  const int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
  if (device < 0) {
    return -1;
  }
  const int descriptor = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC);
  close(device);
  return descriptor;
}

/// The first of these that opens; otherwise -1 with the errno of the system call, which says more
/// than that of the device.
template <class... Ways>
int first_that_opens(Ways... ways) noexcept {
  int descriptor = -1;
  int error = 0;
  const auto attempt = [&](auto way) {
    descriptor = way();
    error = error == 0 ? errno : error;
    return descriptor >= 0;
  };
  static_cast<void>((attempt(ways) || ...));
  errno = error;
  return descriptor;
}

/// Asks for no more than is needed. Before Linux 5.11 there was no such flag, and no need of a
/// privilege.
int open_for_signals() noexcept {
  const auto user_mode = [] { return open_by_system_call(UFFD_USER_MODE_ONLY); };
  const auto any_mode = [] { return open_by_system_call(0); };
  return first_that_opens(user_mode, open_by_device, any_mode);
}

int open_for_monitor() noexcept {
  const int descriptor = first_that_opens([] { return open_by_system_call(0); }, open_by_device);
  monitor_serves_system_calls.store(descriptor >= 0, std::memory_order_relaxed);
  if (descriptor >= 0) {
    return descriptor;
  }
  const int error = errno;
  const int user_mode = open_by_system_call(UFFD_USER_MODE_ONLY);
  errno = error;
  return user_mode;
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

// ---- filling ------------------------------------------------------------------------------------

/// What is copied from: mapped readable and never written to, hence the kernel's page of zeros.
/// Written under the lock before the first descriptor is there.
std::atomic<std::uintptr_t> zeros{0};
constexpr std::size_t zeros_size = std::size_t{256} * 1024;

int map_zeros() noexcept {
  if (zeros.load(std::memory_order_relaxed) == 0) {
    void* const memory = mmap(nullptr, zeros_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
      return errno;
    }
    name_memory(reinterpret_cast<std::uintptr_t>(memory), zeros_size, records_name);
    zeros.store(reinterpret_cast<std::uintptr_t>(memory), std::memory_order_relaxed);
  }
  return 0;
}

/// One ioctl's result as bytes from its begin on that are there now, by us or before; 0 with errno
/// for none.
std::size_t bytes_there(int result, std::int64_t done, std::size_t wanted) noexcept {
  if (result == 0) {
    return wanted;
  }
  if (errno == EAGAIN && done > 0) {
    return static_cast<std::size_t>(done);
  }
  return errno == EEXIST ? page_size() : 0;
}

// Both without waking who waits: answer() does, when the limit says what is there.

std::size_t map_page_of_zeros(int descriptor, std::uintptr_t begin, std::size_t size) noexcept {
  uffdio_zeropage zero{};
  zero.range = {begin, size};
  zero.mode = UFFDIO_ZEROPAGE_MODE_DONTWAKE;
  const int result = ioctl(descriptor, UFFDIO_ZEROPAGE, &zero);
  return bytes_there(result, zero.zeropage, size);
}

std::size_t copy_zeros(int descriptor, std::uintptr_t begin, std::size_t size) noexcept {
  uffdio_copy copy{};
  copy.dst = begin;
  copy.src = zeros.load(std::memory_order_relaxed);
  copy.len = std::min(size, zeros_size);
  copy.mode = UFFDIO_COPY_MODE_DONTWAKE;
  const int result = ioctl(descriptor, UFFDIO_COPY, &copy);
  return bytes_there(result, copy.copy, copy.len);
}

void wake(int descriptor, std::uintptr_t page) noexcept {
  uffdio_range range{page, page_size()};
  ioctl(descriptor, UFFDIO_WAKE, &range);
}

// ---- the thread ---------------------------------------------------------------------------------

/// Between start_thread() and the new thread: the descriptor going in, 0 or an errno coming out.
/// Static, because the new thread may still be about to wake us when we have seen its answer.
struct Start {
  int userfault = -1;
  std::atomic<int> result{pending};
  static constexpr int pending = -1;
};
std::array<Start, kinds.size()> starts;
std::array<pthread_t, kinds.size()> threads;

// To end a thread takes no descriptor, which the program might have closed and opened anew: the
// keeper waits for a word, the monitor for a touch of a page that nobody else touches.
std::atomic<std::uint32_t> keeper_may_end{0};
std::atomic<std::uintptr_t> bell{0};  // written under the lock before the monitor starts

int make_bell(int userfault) noexcept {
  void* const page =
      mmap(nullptr, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) {
    return errno;
  }
  name_memory(reinterpret_cast<std::uintptr_t>(page), page_size(), records_name);
  bell.store(reinterpret_cast<std::uintptr_t>(page), std::memory_order_relaxed);
  return register_pages(userfault, reinterpret_cast<std::uintptr_t>(page), page_size());
}

/// Returns when the monitor has heard it.
void ring_bell() noexcept {
  auto* const page = reinterpret_cast<volatile char*>(bell.load(std::memory_order_relaxed));
  static_cast<void>(*page);
  munmap(const_cast<char*>(page), page_size());
  bell.store(0, std::memory_order_relaxed);
}

/// The monitor cannot tell whose stack pointer is where: every touch above the floor is growth.
int fill_for(const Range& range, SlotRecord& slot, std::uintptr_t address) noexcept {
  if (address >= slot.limit.load(std::memory_order_acquire)) {
    const std::uintptr_t page = page_down(address);
    return range.operations->commit(range, slot, {page, page + page_size()});
  }
  count_growth(slot, false);
  return grow_here(range, slot, address);
}

/// The touch cannot be served, and a thread that waits in the kernel can be told by nothing but
/// another page: one that may not be touched. It is then tried again and raises SIGSEGV.
void refuse(std::uintptr_t page) noexcept {
  if (mprotect(reinterpret_cast<void*>(page), page_size(), PROT_NONE) != 0) {
    RawLine line;
    line << "growstack: a stack could not grow, and its thread could not be told (no memory, or "
            "vm.max_map_count is reached)";
    static_cast<void>(line.write_to_stderr());
    abort();  // it would wait for ever
  }
}

/// Every thread that waits sent a message of its own, and waits until this has been called for it.
void answer(int descriptor, std::uintptr_t address) noexcept {
  const std::uintptr_t page = page_down(address);
  // Without a slot its stack has ended meanwhile: the touch is tried again, in vain.
  if (const PinnedSlot pinned(address);
      pinned && fill_for(pinned.range(), pinned.slot(), address) != 0) {
    refuse(page);
  }
  wake(descriptor, page);
}

/// Until the bell rings.
void monitor(int userfault) noexcept {
  std::array<uffd_msg, 16> messages;
  for (;;) {
    const ssize_t bytes = syscall(SYS_read, userfault, messages.data(), sizeof messages);
    if (bytes < 0 && errno != EINTR) {
      usleep(1000);  // a filter forbids it: to end would leave threads waiting
    }
    for (std::size_t index = 0;
         bytes > 0 && index < static_cast<std::size_t>(bytes) / sizeof(uffd_msg); ++index) {
      const std::uintptr_t address = messages[index].arg.pagefault.address;
      if (messages[index].event != UFFD_EVENT_PAGEFAULT) {
        continue;
      }
      if (const std::uintptr_t page = page_down(address);
          page == bell.load(std::memory_order_relaxed)) {
        static_cast<void>(map_page_of_zeros(userfault, page, page_size()));
        wake(userfault, page);
        return;
      }
      answer(userfault, address);
    }
  }
}

void keep() noexcept {
  while (keeper_may_end.load(std::memory_order_acquire) == 0) {
    futex_wait(keeper_may_end, 0, std::chrono::hours(24));
  }
}

void* thread_body(void* argument) noexcept {
  auto& start = *static_cast<Start*>(argument);
  const int userfault = start.userfault;
  const bool is_monitor = &start == &starts[index_of(UserfaultKind::monitor)];
  settle_service_thread(is_monitor ? "stack-monitor" : "stack-keeper");
  const int error = keep_descriptors_only({userfault});
  start.result.store(error,
                     std::memory_order_release);  // the last use of `start`, but for the wake
  start.result.notify_one();
  if (error == 0) {
    if (is_monitor) {
      monitor(userfault);
    } else {
      keep();
    }
    syscall(SYS_close,
            userfault);  // bare: ThreadSanitizer believes that all threads share one table
  }
  return nullptr;
}

int start_thread(UserfaultKind kind, int userfault) noexcept {
  keeper_may_end.store(0, std::memory_order_relaxed);
  if (kind == UserfaultKind::monitor) {
    if (const int error = make_bell(userfault); error != 0) {
      return error;
    }
  }
  Start& start = starts[index_of(kind)];
  start.userfault = userfault;
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

// ---- what a forked child watches anew -----------------------------------------------------------

/// Of the kind `signal`. Under the lock. What is lost for want of memory the kernel fills in a
/// child.
Stretches& watched_by_signal() {
  static auto& all = *new Stretches;  // never destroyed: stacks with static storage may outlive it
  return all;
}

void watch_again(int descriptor) noexcept {
  for (const Stretch& each : watched_by_signal().all()) {
    static_cast<void>(register_pages(descriptor, each.begin, each.end - each.begin));
  }
}

void set_descriptor(UserfaultKind kind, int descriptor) noexcept {
  identities[index_of(kind)] = identity_of(descriptor);
  fork_wiped()->userfault_descriptors[index_of(kind)].store(descriptor + 1,
                                                            std::memory_order_release);
}

/// In the child, before fork(2) returns: its copy of the memory is not watched by anybody. No
/// thread keeps the new descriptor until the child makes a stack: most children exec soon. Where
/// there is no descriptor to be had the kernel fills, and guard markers, where the kernel has
/// those, are the guard.
void watch_in_child() noexcept {
  const LifeCycleLock lock;
  if (fork_wiped() == nullptr || watched_by_signal().all().empty()) {
    return;
  }
  const int descriptor = open_userfault(UserfaultKind::signal);
  if (descriptor >= 0) {
    watch_again(descriptor);
    set_descriptor(UserfaultKind::signal, descriptor);
  }
}

/// When the program is loaded, after the lock's own (life_cycle.cpp): in a child the lock is free
/// then.
struct WatchInChild {
  WatchInChild() noexcept {
    static_cast<void>(watched_by_signal());
    static_cast<void>(pthread_atfork(nullptr, nullptr, watch_in_child));
  }
};
[[gnu::init_priority(init_registers)]] const WatchInChild watch_in_child_too;

}  // namespace

int start_userfault(UserfaultKind kind, bool& is_refused) noexcept {
  is_refused = false;
  const LifeCycleLock lock;
  ForkWiped* const shared = fork_wiped();
  if (shared == nullptr) {
    return ENXIO;  // install() comes first
  }
  if (shared->userfault_joinable[index_of(kind)].load(std::memory_order_relaxed) != 0) {
    if (is_still_ours(kind)) {
      return 0;
    }
    // The program closed it. The thread goes on with its own, for what is watched already.
    shared->userfault_joinable[index_of(kind)].store(0, std::memory_order_relaxed);
    pthread_detach(threads[index_of(kind)]);
  }
  // None yet; or this is a forked child, which has a descriptor at most.
  if (const int error = map_zeros(); error != 0) {
    return error;
  }
  const int userfault = is_still_ours(kind) ? descriptor_of(kind) : open_userfault(kind);
  if (userfault < 0) {
    is_refused = errno != EMFILE && errno != ENFILE && errno != ENOMEM;
    return errno;
  }
  if (const int error = start_thread(kind, userfault); error != 0) {
    if (userfault != descriptor_of(kind)) {
      close(userfault);
    }
    return error;
  }
  if (kind == UserfaultKind::signal) {
    watch_again(userfault);
  }
  set_descriptor(kind, userfault);
  return 0;
}

int watch_missing_pages(UserfaultKind kind, std::uintptr_t begin, std::size_t size) noexcept {
  const LifeCycleLock lock;
  if (const int error = register_pages(descriptor_of(kind), begin, size); error != 0) {
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

int fill_missing_pages(UserfaultKind kind, Filling with, std::uintptr_t begin,
                       std::uintptr_t end) noexcept {
  const int descriptor = descriptor_of(kind);
  if (descriptor < 0) {
    return ENOENT;  // in a forked child
  }
  std::size_t at_once = end - begin;
  for (std::uintptr_t at = begin; at < end;) {
    const std::size_t size = std::min(at_once, end - at);
    const std::size_t filled = with == Filling::page_of_zeros
                                   ? map_page_of_zeros(descriptor, at, size)
                                   : copy_zeros(descriptor, at, size);
    if (filled != 0) {
      at += filled;
    } else if (errno == ENOENT && size > page_size()) {
      at_once = page_down(size / 2);  // it lies in two mappings
    } else if (errno != EAGAIN) {
      return errno;
    }
  }
  return 0;
}

bool serves_system_calls() noexcept {
  return monitor_serves_system_calls.load(std::memory_order_relaxed);
}

void end_userfault_threads() noexcept {
  ForkWiped* const shared = fork_wiped();
  if (shared == nullptr) {
    return;
  }
  for (const UserfaultKind kind : kinds) {
    const std::size_t index = index_of(kind);
    if (shared->userfault_joinable[index].exchange(0, std::memory_order_relaxed) != 0) {
      if (kind == UserfaultKind::monitor) {
        ring_bell();
      } else {
        keeper_may_end.store(1, std::memory_order_release);
        futex_wake(keeper_may_end);
      }
      pthread_join(threads[index], nullptr);
    }
    if (is_still_ours(kind)) {
      close(descriptor_of(kind));
    }
    shared->userfault_descriptors[index].store(0, std::memory_order_relaxed);
  }
}

}  // namespace growstack::handler
