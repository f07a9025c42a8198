// What the running thread of a model asks of the search: the one seam between atomic.hpp and
// search.cpp.
#pragma once

#include "function_ref.hpp"
#include "graph.hpp"

#include <atomic>
#include <cstdint>

namespace growstack::explorer {

/// An object of up to 8 bytes.
struct Object {
  void* address = nullptr;
  std::size_t size = 0;
};

/// What a read-modify-write does with the value that it finds.
struct Change {
  bool writes = true;  ///< otherwise it is only a read
  std::uint64_t value = 0;
  std::memory_order order = std::memory_order_seq_cst;
};

/// Returns whether the calling code is a thread of a model. Otherwise, an atomic is ordinary
/// memory.
[[nodiscard]] bool in_model() noexcept;

std::uint64_t load(Object object, std::memory_order order);
void store(Object object, std::uint64_t value, std::memory_order order);
/// Returns the value that was found.
std::uint64_t change(Object object, FunctionRef<Change(std::uint64_t)> decide);
/// Waits until the value is a wanted one, and returns it. Nothing else is a step.
std::uint64_t wait_until(Object object, std::memory_order order,
                         FunctionRef<bool(std::uint64_t)> is_wanted);
/// Waits the same way, and then changes the value in the same step.
std::uint64_t change_when(Object object, FunctionRef<bool(std::uint64_t)> is_wanted,
                          FunctionRef<Change(std::uint64_t)> decide);
void fence(std::memory_order order, Weight weight);

/// An access to memory that is no atomic.
enum class Access : bool { read, write };
void access(const void* object, Access access);

}  // namespace growstack::explorer
