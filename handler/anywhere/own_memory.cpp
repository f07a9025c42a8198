#include "anywhere/own_memory.hpp"

#include <growstack/handler/failed_call.hpp>

#include "anywhere/keep_errno.hpp"

#include <sys/mman.h>

namespace growstack::handler {

void* map_own_memory(std::size_t bytes, std::size_t guard) noexcept {
  void* const memory = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    failed(SystemCall::mmap);
    return nullptr;
  }
  // In this order: the kernel fills locked memory as soon as somebody may touch it. A filter that
  // refuses munlock(2) costs memory, and nothing else.
  munlock(memory, bytes);
  auto* const usable = static_cast<std::byte*>(memory) + guard;
  if (mprotect(usable, bytes - guard, PROT_READ | PROT_WRITE) != 0) {
    failed(SystemCall::mprotect);
    unmap_own_memory(memory, bytes);
    return nullptr;
  }
  return memory;
}

void unmap_own_memory(void* memory, std::size_t bytes) noexcept {
  const KeepErrno keep_errno;
  if (munmap(memory, bytes) != 0) {
    constexpr int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    static_cast<void>(mmap(memory, bytes, PROT_NONE, flags, -1, 0));
  }
}

}  // namespace growstack::handler
