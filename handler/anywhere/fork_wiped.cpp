#include "anywhere/fork_wiped.hpp"

#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/name_memory.hpp>
#include <growstack/handler/pages.hpp>

#include "anywhere/own_memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <new>

namespace growstack::handler {
namespace {
std::atomic<ForkWiped*> instance{nullptr};
}

void* map_fork_wiped(std::size_t bytes) noexcept {
  bytes = page_up(bytes);
  void* const memory = map_own_memory(bytes);
  if (memory == nullptr) {
    return nullptr;
  }
  if (madvise(memory, bytes, MADV_WIPEONFORK) != 0) {
    failed(SystemCall::madvise);
    unmap_own_memory(memory, bytes);
    return nullptr;
  }
  name_memory(reinterpret_cast<std::uintptr_t>(memory), bytes, records_name);
  return memory;
}

ForkWiped* fork_wiped() noexcept { return instance.load(std::memory_order_acquire); }

int make_fork_wiped() noexcept {
  if (fork_wiped() == nullptr) {
    void* const memory = map_fork_wiped(sizeof(ForkWiped));
    if (memory == nullptr) {
      return errno;
    }
    instance.store(new (memory) ForkWiped, std::memory_order_release);
  }
  note_forked_process();
  return 0;
}

void note_forked_process() noexcept {
  ForkWiped* const shared = fork_wiped();
  if (shared != nullptr && shared->process.load(std::memory_order_relaxed) == 0) {
    shared->process.store(getpid(), std::memory_order_release);
  }
}

bool in_vfork_child() noexcept {
  const ForkWiped* const shared = fork_wiped();
  const pid_t process = shared == nullptr ? 0 : shared->process.load(std::memory_order_acquire);
  return process != 0 && process != getpid();
}

}  // namespace growstack::handler
