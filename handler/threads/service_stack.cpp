#include "threads/service_stack.hpp"

#include <growstack/handler/name_memory.hpp>
#include <growstack/handler/pages.hpp>

#include "anywhere/fork_wiped.hpp"
#include "anywhere/own_memory.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <new>

namespace growstack::handler {

/// A stack that was left to its thread. The note lies at the far end of that stack, because it must
/// last as long, and the thread does not get there. Before it lies what note_return() writes.
struct LeftStack {
  pid_t thread;
  std::byte* memory;
  std::size_t bytes;
  LeftStack* next;
};

namespace {

/// Not 0 once the thread of the stack that begins here has returned. Memory that is new is 0.
std::atomic<std::uint64_t>& returned(void* begin) noexcept {
  return *static_cast<std::atomic<std::uint64_t>*>(begin);
}

/// Returns true in doubt. The id may belong to a new thread of this process by now: then the stack
/// stays until that one has ended.
bool has_thread(pid_t thread) noexcept {
  return syscall(SYS_tgkill, getpid(), thread, 0) == 0 || errno != ESRCH;
}

}  // namespace

int ServiceStack::map(std::size_t bytes) noexcept {
  void* const memory = map_own_memory(page_size() + bytes, page_size());
  if (memory == nullptr) {
    return errno;
  }
  memory_ = static_cast<std::byte*>(memory);
  bytes_ = page_size() + bytes;
  // One page is enough for most of these threads. EINVAL means a kernel without huge pages.
  madvise(memory_, bytes_, MADV_NOHUGEPAGE);
  name_memory(reinterpret_cast<std::uintptr_t>(memory_), bytes_, service_stack_name);
  return 0;
}

void* ServiceStack::begin() const noexcept { return memory_ + page_size(); }

void ServiceStack::unmap() const noexcept { unmap_own_memory(memory_, bytes_); }

void ServiceStack::note_return(void* begin) noexcept {
  returned(begin).store(1, std::memory_order_relaxed);
}

void ServiceStack::leave_to(pid_t thread) const noexcept {
  LeftStack*& first = fork_wiped()->left_stacks;
  void* const place = &returned(begin()) + 1;
  first =
      new (place) LeftStack{.thread = thread, .memory = memory_, .bytes = bytes_, .next = first};
}

void ServiceStack::take_back_left() noexcept {
  for (LeftStack** link = &fork_wiped()->left_stacks; *link != nullptr;) {
    const LeftStack left = **link;
    if (left.thread == 0 || has_thread(left.thread)) {
      link = &(*link)->next;
      continue;
    }
    *link = left.next;
    if (returned(left.memory + page_size()).load(std::memory_order_relaxed) != 0) {
      unmap_own_memory(left.memory, left.bytes);
    }
  }
}

}  // namespace growstack::handler
