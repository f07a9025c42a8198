// A std::pmr::memory_resource whose blocks all lie in one contiguous region, which grows in place
// and never moves.
//
//     growstack::memory_resource region({.reserve = 64ULL << 30});
//     std::pmr::vector<std::pmr::string> lines(&region);
#pragma once

#include <growstack/export.hpp>
#include <growstack/options.hpp>
#include <growstack/stack.hpp>

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <system_error>

namespace growstack {

/// Allocates blocks in one region of address space. The region is a Stack on which nothing runs:
/// blocks begin at its base() and go down to its floor(). A block costs some arithmetic and three
/// comparisons. The region grows by its GrowthPolicy, counts against set_process_budget(), and has
/// a guard below.
///
/// Memory is committed before it is handed out, by the step that a fault would have taken. So lack
/// of memory is std::bad_alloc and does not end the process. System calls find the memory, where
/// memory that waits for a fault would give them EFAULT. And any thread may touch a block first, at
/// any place, where a fault far below the limit would count as a wild pointer.
///
/// Deallocating the lowest block makes room again. Other blocks wait for release(), as all blocks
/// do in std::pmr::monotonic_buffer_resource. For blocks that come and go in any order, put a pool
/// over the region:
///
///     std::pmr::unsynchronized_pool_resource pool(&region);
///
/// One thread at a time may call member functions; any thread may use the memory. Not from signal
/// handlers. An object cannot be copied or moved, because its blocks refer to it.
class GROWSTACK_EXPORT memory_resource final : public std::pmr::memory_resource {
 public:
  /// Makes a region. `reserve` bounds the sum of all blocks. A name that was not given becomes
  /// "memory resource". Throws std::system_error as Stack's constructor does, and EINVAL for two
  /// strategies: grows_down, because other mappings may land where it grows, and heap, because it
  /// takes all of the reserve from malloc and gives nothing back.
  ///
  /// pipe_helper (the default) and in_handler count what was needed so far against RLIMIT_DATA and
  /// the overcommit limit. They are alike here, because nothing faults. The other strategies count
  /// all of the reserve when the region is made, or nothing; with them std::bad_alloc means that
  /// the budget or the region is used up. `locked` never gives memory back.
  explicit memory_resource(const StackOptions& options = {});
  /// Gives the whole region back, blocks included. Nobody may use the blocks any more.
  ~memory_resource() override;
  memory_resource(const memory_resource&) = delete;
  memory_resource& operator=(const memory_resource&) = delete;

  /// Frees every block, and keeps memory for the next blocks: as much as these needed, as much
  /// again, and the initial commit. Memory that only earlier blocks needed is given back. So a loop
  /// of requests whose sizes differ by no more than a factor of two makes no system call once the
  /// memory is there; and the memory of one large request is given back at the end of the next
  /// small one. trim() gives it back at once.
  void release() noexcept;

  /// Gives all memory below the page of the lowest block back; right after release() that is all
  /// memory. Returns success, ENOTSUP for Strategy::locked, or the errno of mmap(2) or madvise(2).
  [[nodiscard]] std::error_code trim() noexcept;

  /// Returns the bytes from the lowest block to base: blocks, what their alignment wasted, and
  /// blocks that were deallocated out of order.
  [[nodiscard]] std::size_t used() const noexcept { return base_ - next_; }
  /// Returns the bytes that used() may reach: the reserve.
  [[nodiscard]] std::size_t capacity() const noexcept { return base_ - floor_; }
  /// Returns the committed bytes, as Stack::committed() does.
  [[nodiscard]] std::size_t committed() const noexcept;
  /// Returns the bytes in physical memory, as Stack::resident() does.
  [[nodiscard]] std::size_t resident() const noexcept;
  /// Returns whether an address lies in the region, in a block or not.
  [[nodiscard]] bool contains(const void* pointer) const noexcept {
    return reinterpret_cast<std::uintptr_t>(pointer) - floor_ < capacity();
  }
  /// Returns the region, which can be asked for its bounds, name, strategy and counters.
  [[nodiscard]] const Stack& stack() const noexcept { return stack_; }

 private:
  /// Allocates a block of any size, at any alignment that is a power of two. Throws std::bad_alloc
  /// if the block does not fit or the memory is not available. Nothing has changed then, and
  /// smaller blocks may still be available.
  void* do_allocate(std::size_t bytes, std::size_t alignment) override;
  void do_deallocate(void* pointer, std::size_t bytes, std::size_t alignment) override;
  [[nodiscard]] bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
    return this == &other;
  }

  GROWSTACK_LOCAL void make_ready(std::uintptr_t block);
  [[nodiscard]] GROWSTACK_LOCAL int trim_below(std::uintptr_t keep_from) noexcept;

  Stack stack_;
  std::uintptr_t base_;
  std::uintptr_t floor_;
  std::uintptr_t next_;  ///< the lowest block, or base
  /// The lowest of the blocks above which alignment left room; 0: there is none.
  std::uintptr_t padded_{};
  std::uintptr_t ready_;     ///< memory is committed down to here at least
  std::uintptr_t deepest_;   ///< the lowest next_ since the last release(); next_ may be lower now
  std::uintptr_t reached_;   ///< the lowest deepest_ whose memory was not given back
  std::uintptr_t poisoned_;  ///< the lowest ready_ that there ever was, for AddressSanitizer
};

}  // namespace growstack
