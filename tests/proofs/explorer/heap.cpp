#include "heap.hpp"

#include "explorer.hpp"
#include "graph.hpp"
#include "run.hpp"

#include <sys/mman.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace growstack::explorer::heap {
namespace {

constexpr std::size_t parts = most_threads + 1;
constexpr std::size_t part_bytes = std::size_t{16} << 20;
/// Before each block: its size, and what keeps it aligned as malloc's are.
constexpr std::size_t header_bytes = 16;

std::size_t current = none;
std::byte* memory = nullptr;
std::array<std::size_t, parts> used{};

[[nodiscard]] void* take(std::size_t bytes, std::size_t alignment) noexcept {
  if (memory == nullptr) {
    void* const mapped = mmap(nullptr, parts * part_bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) {
      std::abort();
    }
    memory = static_cast<std::byte*>(mapped);
  }
  const std::size_t begin = (used[current] + header_bytes + alignment - 1) & ~(alignment - 1);
  if (begin + bytes > part_bytes) {
    std::abort();  // one execution allocates that much: it has no end
  }
  used[current] = begin + bytes;
  std::byte* const block = memory + current * part_bytes + begin;
  *reinterpret_cast<std::size_t*>(block - header_bytes) = bytes;
  return block;
}

}  // namespace

bool is_ours(const void* address) noexcept {
  const auto* const at = static_cast<const std::byte*>(address);
  return memory != nullptr && at >= memory && at < memory + parts * part_bytes;
}

std::size_t use(std::size_t part) noexcept {
  const std::size_t before = current;
  current = part;
  return before;
}

void reset() noexcept { used.fill(0); }

std::size_t size_of(const void* block) noexcept {
  return is_ours(block) ? *reinterpret_cast<const std::size_t*>(
                              static_cast<const std::byte*>(block) - header_bytes)
                        : 0;
}

namespace {

void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
  if (current != none) {
    return take(bytes, alignment);
  }
  return alignment <= header_bytes
             ? std::malloc(bytes)
             : std::aligned_alloc(alignment, (bytes + alignment - 1) & ~(alignment - 1));
}

void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
  void* const block = allocate(bytes == 0 ? 1 : bytes, alignment);
  if (block == nullptr) {
    throw std::bad_alloc();
  }
  return block;
}

void give_back(void* block) noexcept {
  if (!is_ours(block)) {
    std::free(block);
  } else if (in_model()) {
    release(block, size_of(block));
  }
}

}  // namespace
}  // namespace growstack::explorer::heap

namespace heap = growstack::explorer::heap;
constexpr std::size_t usual = 16;

void* operator new(std::size_t bytes) { return heap::allocate_or_throw(bytes, usual); }
void* operator new[](std::size_t bytes) { return heap::allocate_or_throw(bytes, usual); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return heap::allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return heap::allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return heap::allocate(bytes == 0 ? 1 : bytes, usual);
}
void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return heap::allocate(bytes == 0 ? 1 : bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* block) noexcept { heap::give_back(block); }
void operator delete[](void* block) noexcept { heap::give_back(block); }
void operator delete(void* block, std::size_t) noexcept { heap::give_back(block); }
void operator delete[](void* block, std::size_t) noexcept { heap::give_back(block); }
void operator delete(void* block, std::align_val_t) noexcept { heap::give_back(block); }
void operator delete[](void* block, std::align_val_t) noexcept { heap::give_back(block); }
void operator delete(void* block, std::size_t, std::align_val_t) noexcept {
  heap::give_back(block);
}
void operator delete[](void* block, std::size_t, std::align_val_t) noexcept {
  heap::give_back(block);
}
