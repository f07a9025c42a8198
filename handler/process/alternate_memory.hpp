// The memory of alternate signal stacks, which goes from a thread that ends to the next one that
// begins.
#pragma once

#include <cstddef>

namespace growstack::handler {

/// A guard page, and above it an alternate stack.
struct AlternateMemory {
  std::byte* begin = nullptr;  ///< of the guard page; null: there is no memory
  std::size_t size = 0;        ///< bytes, with the guard page
};

/// Takes memory that is kept, or maps some. Returns 0 or an errno of mmap(2), mprotect(2).
[[nodiscard]] int take_alternate_memory(AlternateMemory& memory) noexcept;

/// Keeps the memory for a later thread, or unmaps it. No thread may have it as its alternate stack
/// any more.
void put_alternate_memory(AlternateMemory memory) noexcept;

/// Unmaps the memory unless it has gone, or somebody else has mapped something there since.
void leave_alternate_memory(AlternateMemory memory) noexcept;

}  // namespace growstack::handler
