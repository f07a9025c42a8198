// A std::pmr::memory_resource whose blocks all lie in one region that grows where it is:
// contiguous, it never moves.
//
//     growstack::memory_resource region({.reserve = 64ULL << 30});
//     std::pmr::vector<std::pmr::string> lines(&region);
#pragma once

#include <growstack/options.hpp>
#include <growstack/stack.hpp>

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <system_error>

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack {

/// The region is a Stack on which nothing runs: reserved address space, whose blocks begin at
/// base() and go down to floor(). A block costs some arithmetic and three comparisons; the region
/// grows by GrowthPolicy, counts against set_process_budget(), and has a guard below.
///
/// What is handed out was committed before, by the step that a fault would have taken. So lack of
/// memory is std::bad_alloc and not a death, a system call finds the memory (it would get EFAULT
/// from memory that waits for a fault), and a block may be touched first by any thread and at any
/// place, where a fault far below the limit would be taken for a wild pointer.
///
/// The block that lies lowest, when it is deallocated, makes room again; others wait for release(),
/// as all do in std::pmr::monotonic_buffer_resource. For blocks that come and go in any order, put
/// a pool over it:
///
///     std::pmr::unsynchronized_pool_resource pool(&region);
///
/// Used by one thread at a time; the memory by any. It stays where it was made, for its blocks know
/// where that is.
class memory_resource final : public std::pmr::memory_resource {
 public:
  /// `reserve` is the limit. A name that was not given becomes "memory resource". Throws
  /// std::system_error as Stack does, and EINVAL for two strategies: grows_down (other mappings may
  /// land in the hole that it grows into) and heap (which has all of the reserve from malloc, and
  /// gives nothing back).
  ///
  /// pipe_helper, the default, and in_handler count what was needed so far against RLIMIT_DATA and
  /// the overcommit limit, and are alike here, for nothing faults; the others count all of the
  /// reserve when they are made, or nothing, and with them std::bad_alloc means the budget or the
  /// end of the region. `locked` never gives memory back.
  explicit memory_resource(const StackOptions& options = {});
  /// Gives all of it back, blocks included. Nobody may use them any more.
  ~memory_resource() override;
  memory_resource(const memory_resource&) = delete;
  memory_resource& operator=(const memory_resource&) = delete;

  /// Frees every block, and keeps the memory for the next ones: as much as these needed, as much
  /// again, and the initial commit; what only earlier ones needed is given back. So a loop of
  /// requests that differ by no more than a factor of two makes no system call once the memory is
  /// there, and one large request does not keep its memory for ever: the end of the next small one
  /// gives it back. Or trim(), at once.
  void release() noexcept;

  /// Gives back all memory below the page of the lowest block, and right after release() all of it.
  /// Success, ENOTSUP for `locked`, or the errno of mmap(2), madvise(2).
  std::error_code trim() noexcept;

  /// Bytes from the lowest block to base: blocks, what their alignment wasted, and those
  /// deallocated out of order.
  [[nodiscard]] std::size_t used() const noexcept { return base_ - next_; }
  /// Bytes that used() may reach: the reserve.
  [[nodiscard]] std::size_t capacity() const noexcept { return base_ - floor_; }
  /// Bytes committed, as of Stack.
  [[nodiscard]] std::size_t committed() const noexcept { return stack_.committed(); }
  /// Bytes in physical memory, as of Stack.
  [[nodiscard]] std::size_t resident() const noexcept { return stack_.resident(); }
  /// Whether it lies in the region, in a block or not.
  [[nodiscard]] bool contains(const void* pointer) const noexcept {
    return reinterpret_cast<std::uintptr_t>(pointer) - floor_ < capacity();
  }
  /// The region, for whatever else can be asked of it: its bounds, name, strategy, counters.
  [[nodiscard]] const Stack& stack() const noexcept { return stack_; }

 private:
  /// Any size, and any alignment that is a power of two. Throws std::bad_alloc where that does not
  /// fit or the memory cannot be had; nothing has changed then, and smaller blocks may still be
  /// had.
  void* do_allocate(std::size_t bytes, std::size_t alignment) override;
  void do_deallocate(void* pointer, std::size_t bytes, std::size_t alignment) override;
  [[nodiscard]] bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
    return this == &other;
  }

  void make_ready(std::uintptr_t block);
  int give_back_below(std::uintptr_t keep_from) noexcept;

  Stack stack_;
  std::uintptr_t base_;
  std::uintptr_t floor_;
  std::uintptr_t next_;  ///< lowest block, or base
  std::uintptr_t
      padded_{};  ///< of the blocks above which alignment left room, the lowest one; 0: none
  std::uintptr_t ready_;  ///< committed down to here at least
  std::uintptr_t
      deepest_;  ///< the lowest that next_ was since the last release(), unless it is lower now
  std::uintptr_t reached_;   ///< the lowest that memory was needed for, by then, and not given back
  std::uintptr_t poisoned_;  ///< the lowest that ready_ ever was: for AddressSanitizer
};

}  // namespace growstack

#pragma GCC visibility pop
