#include "threads/monitor.hpp"

#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/name_memory.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/handler/ranges.hpp>

#include "anywhere/own_memory.hpp"
#include "anywhere/raw_line.hpp"
#include "anywhere/userfault_calls.hpp"
#include "fault/counters.hpp"
#include "fault/fill_missing_pages.hpp"
#include "fault/grow.hpp"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
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

/// Ends the process, because a thread would wait for ever.
[[noreturn]] void give_up(const char* call, int error) noexcept {
  const char* const name = errno_name(error);
  const char* const cure =
      error == ENOMEM
          ? "vm.max_map_count or the memory of the control group is reached: raise it"
          : "a seccomp filter or a security module refuses the call: allow it, or take another "
            "strategy";
  RawLine line;
  line << "growstack: a stack could not grow, and its thread could not be told (" << call << ": "
       << (name == nullptr ? "an errno" : name) << ": " << cure << ")";
  static_cast<void>(line.write_to_stderr());
  abort();
}

/// Calls works(), for a second, until it returns true. What refuses it may be over by then.
template <class Works>
[[nodiscard]] bool try_for_a_second(Works works) noexcept {
  constexpr int most_attempts = 100;
  for (int attempt = 0; attempt < most_attempts; ++attempt) {
    if (works()) {
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
  const auto forbid = [page] {
    return mprotect(reinterpret_cast<void*>(page), page_size(), PROT_NONE) == 0;
  };
  if (!try_for_a_second(forbid)) {  // that takes memory
    give_up("mprotect", errno);
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
  if (!try_for_a_second([=] { return wake_waiters(userfault, page); })) {
    give_up("ioctl(UFFDIO_WAKE)", errno);
  }
}

/// Returns whether a thread waits for an answer. poll(2) tells so only of a userfaultfd that does
/// not block.
bool somebody_waits(int userfault) noexcept {
  const int flags = fcntl(userfault, F_GETFL);
  fcntl(userfault, F_SETFL, flags | O_NONBLOCK);
  pollfd question{.fd = userfault, .events = POLLIN, .revents = 0};
  const bool waits = poll(&question, 1, 0) == 1 && (question.revents & POLLIN) != 0;
  fcntl(userfault, F_SETFL, flags);
  return waits;
}

/// To be called when a read failed. To end would leave threads waiting. Tries for a second while
/// one waits; then gives up.
void bear_with(int error, int userfault, int& attempts) noexcept {
  constexpr int most_attempts = 1000;
  attempts = somebody_waits(userfault) ? attempts + 1 : 0;
  if (attempts > most_attempts) {
    give_up("read", error);
  }
  usleep(1000);
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
  message_.store(Message::nothing, std::memory_order_relaxed);
  return 0;
}

void Monitor::run(int userfault) noexcept {
  std::array<uffd_msg, 16> messages;
  for (int attempts = 0;;) {
    const ssize_t bytes = syscall(SYS_read, userfault, messages.data(), sizeof messages);
    if (bytes >= 0) {
      attempts = 0;
    } else if (errno != EINTR) {
      bear_with(errno, userfault, attempts);
    }
    for (std::size_t index = 0;
         bytes > 0 && index < static_cast<std::size_t>(bytes) / sizeof(uffd_msg); ++index) {
      const std::uintptr_t address = messages[index].arg.pagefault.address;
      if (messages[index].event != UFFD_EVENT_PAGEFAULT) {
        continue;
      }
      if (const std::uintptr_t page = page_down(address);
          page == bell_.load(std::memory_order_relaxed)) {
        // Before the page is there, because who rang goes on then and looks whether it was heard.
        Message expected = Message::is_to_end;
        const bool ends = message_.compare_exchange_strong(expected, Message::was_heard,
                                                           std::memory_order_acq_rel);
        static_cast<void>(map_page_of_zeros(userfault, page, page_size()));
        static_cast<void>(try_for_a_second([=] { return wake_waiters(userfault, page); }));
        if (ends) {
          return;
        }
        continue;
      }
      answer(userfault, address);
    }
  }
}

/// Returns when the monitor has heard that it is to end. The page may be there, and locked, because
/// somebody else has rung: then it could not ring again. It is taken away only while the monitor
/// stays whoever rings. Otherwise the monitor could have ended already, and nobody would fill it.
bool Monitor::ask_to_end() noexcept {
  void* const page = reinterpret_cast<void*>(bell_.load(std::memory_order_relaxed));
  Message expected{};
  do {
    munlock(page, page_size());
    if (madvise(page, page_size(), MADV_DONTNEED) != 0) {
      return false;
    }
    message_.store(Message::is_to_end, std::memory_order_release);
    static_cast<void>(*static_cast<volatile char*>(page));
    expected = Message::is_to_end;
  } while (message_.compare_exchange_strong(expected, Message::nothing, std::memory_order_acq_rel));
  remove_bell();
  return true;
}

}  // namespace growstack::handler
