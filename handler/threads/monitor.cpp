#include "threads/monitor.hpp"

#include <growstack/handler/name_memory.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/handler/ranges.hpp>

#include "anywhere/own_memory.hpp"
#include "anywhere/raw_line.hpp"
#include "anywhere/userfault_calls.hpp"
#include "fault/counters.hpp"
#include "fault/fill_missing_pages.hpp"
#include "fault/grow.hpp"

#include <linux/userfaultfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>

namespace growstack::handler {
namespace {

/// Commits what the touch asks for. Every touch above the floor is growth, because the monitor
/// cannot tell whose stack pointer is where. Returns 0 or an errno.
int fill_for(const Range& range, SlotRecord& slot, std::uintptr_t address) noexcept {
  if (address >= slot.limit.load(std::memory_order_acquire)) {
    const std::uintptr_t page = page_down(address);
    return range.operations->commit(range, slot, {page, page + page_size()});
  }
  count_growth(slot, false);
  return grow_here(range, slot, address);
}

/// Makes a page inaccessible. That takes memory, and what has used it up may give some back: tries
/// for a second.
bool forbid(std::uintptr_t page) noexcept {
  constexpr int most_attempts = 100;
  for (int attempt = 0; attempt < most_attempts; ++attempt) {
    if (mprotect(reinterpret_cast<void*>(page), page_size(), PROT_NONE) == 0) {
      return true;
    }
    usleep(10'000);
  }
  return false;
}

/// Tells a thread that its touch cannot be served. It waits in the kernel and can be told by
/// nothing but another page, one that may not be touched. The touch is then tried again and raises
/// SIGSEGV.
void refuse(std::uintptr_t page) noexcept {
  note_refused_page();
  if (!forbid(page)) {
    RawLine line;
    line << "growstack: a stack could not grow, and its thread could not be told (ENOMEM: "
            "vm.max_map_count or the memory of the control group is reached: raise it)";
    static_cast<void>(line.write_to_stderr());
    abort();  // it would wait for ever
  }
}

/// Serves one touch. Every waiting thread sent a message of its own, and waits until this has been
/// called for it.
void answer(int userfault, std::uintptr_t address) noexcept {
  const std::uintptr_t page = page_down(address);
  // Without a slot, the stack has ended meanwhile: the touch is tried again, in vain.
  if (const PinnedSlot pinned(address);
      pinned && fill_for(pinned.range(), pinned.slot(), address) != 0) {
    refuse(page);
  }
  wake_waiters(userfault, page);
}

}  // namespace

constinit Monitor the_monitor;

void Monitor::remove_bell() noexcept {
  const std::uintptr_t page = bell_.exchange(0, std::memory_order_relaxed);
  if (page != 0) {
    unmap_own_memory(reinterpret_cast<void*>(page), page_size());
  }
}

int Monitor::prepare(int userfault) noexcept {
  remove_bell();  // a start that failed after this function has left its own
  void* const page = map_own_memory(page_size());  // still missing after mlockall(MCL_FUTURE)
  if (page == nullptr) {
    return errno;
  }
  const auto address = reinterpret_cast<std::uintptr_t>(page);
  name_memory(address, page_size(), records_name);
  if (const int error = register_missing(userfault, address, page_size()); error != 0) {
    unmap_own_memory(page, page_size());
    return error;
  }
  bell_.store(address, std::memory_order_relaxed);
  is_to_end_.store(false, std::memory_order_relaxed);
  return 0;
}

void Monitor::run(int userfault) noexcept {
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
          page == bell_.load(std::memory_order_relaxed)) {
        static_cast<void>(map_page_of_zeros(userfault, page, page_size()));
        wake_waiters(userfault, page);
        if (is_to_end_.load(std::memory_order_acquire)) {
          return;
        }
        continue;
      }
      answer(userfault, address);
    }
  }
}

/// Returns when the monitor has heard the bell. The page may be there, and locked, because the bell
/// has rung before: then it could not ring again.
bool Monitor::ask_to_end() noexcept {
  is_to_end_.store(true, std::memory_order_release);
  void* const page = reinterpret_cast<void*>(bell_.load(std::memory_order_relaxed));
  munlock(page, page_size());
  if (madvise(page, page_size(), MADV_DONTNEED) != 0) {
    return false;
  }
  static_cast<void>(*reinterpret_cast<volatile char*>(bell_.load(std::memory_order_relaxed)));
  remove_bell();
  return true;
}

}  // namespace growstack::handler
