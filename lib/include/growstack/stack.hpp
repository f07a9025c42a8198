// A stack that grows, as an object.
#pragma once

#include <growstack/handler/slot.hpp>
#include <growstack/options.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack {

class [[gnu::visibility("hidden")]] StackAccess;  // the library's own way in

/// What one stack has seen and has; sizes in bytes, without the guard.
struct StackCounters {
  std::uint32_t growth_faults =
      0;  ///< faults of ours that grew it; 0 for strategies that grow without them
  std::uint32_t remote_growth_faults = 0;  ///< of these, by a thread that ran elsewhere
  std::uint32_t unseen_growth =
      0;  ///< guard_markers: trims that found it deeper than any fault had told, because a
          ///< frame larger than the window of markers had jumped over that
  std::size_t reserved = 0;    ///< from floor to base
  std::size_t committed = 0;   ///< from limit to base
  std::size_t high_water = 0;  ///< deepest ever committed
};

/// Owns the address space of one stack. Making the first one installs the SIGSEGV handler
/// (growstack/handler/handler.hpp).
///
/// To run something on it, use call() (growstack/call.hpp), or hand base() and reserved() to a
/// context library; every thread that runs on it must have called handler::attach_thread(), which
/// the constructor does for its own.
///
/// A moved-from Stack may only be destroyed or assigned to. Distinct stacks may be used by distinct
/// threads at once; one stack by one thread at a time, but for the observers, which any thread may
/// call.
class Stack {
 public:
  /// Reserves address space and commits `policy.initial_commit`. No page is resident yet (unless
  /// mlockall(2) has MCL_FUTURE). Throws std::system_error: EINVAL (an option out of range), ENOMEM
  /// (the message names the limit and the cure), or what keeps the strategy from working here.
  explicit Stack(const StackOptions& options = {});
  /// Releases exactly what was reserved, or gives the stack back to its pool
  /// (growstack/stack_pool.hpp). Nothing may run on it.
  // Hidden, as all that is inline and calls the library: a plugin with a growstack of its own calls
  // that one.
#ifndef __clang__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored \
    "-Wmaybe-uninitialized"  // gcc 12, of a std::optional<Stack> that is empty
#endif
  [[gnu::visibility("hidden")]] ~Stack() {
    if (slot_ != nullptr) {
      give_back(slot_, fallback_reason_);
    }
  }
#ifndef __clang__
#pragma GCC diagnostic pop
#endif
  /// Takes the stack over.
  Stack(Stack&& other) noexcept
      : slot_(std::exchange(other.slot_, nullptr)),
        fallback_reason_(std::exchange(other.fallback_reason_, nullptr)) {}
  /// Releases the stack that was here, and takes the other over.
  Stack& operator=(Stack&& other) noexcept;
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  /// Gives up the ownership: the stack stays until adopt() takes it up again. For those who keep an
  /// address and nothing else, as C interfaces do. Returns floor(). Throws std::system_error:
  /// EINVAL for Strategy::heap, whose addresses do not lead back to a stack; nothing has changed
  /// then.
  void* release();
  /// The stack that `address`, anywhere from floor() up to but not including base(), lies in, and
  /// which was given up by release(). Its fallback_reason() is lost, unless it is a pool's. Any
  /// thread. Throws std::system_error: EINVAL if there is none. As with free(3), adopting what is
  /// owned by somebody is not found out.
  [[nodiscard]] static Stack adopt(const void* address);

  /// Highest address: a stack pointer starts here. Multiple of the page size.
  [[nodiscard]] void* base() const noexcept {
    return reinterpret_cast<void*>(slot_->base.load(std::memory_order_relaxed));
  }
  /// Lowest committed address now. Equal to floor() for strategies without growth events
  /// (demand_paging, locked, heap), and for guard_markers once its window of markers is used up;
  /// grows_down reads it from /proc/self/maps.
  [[nodiscard]] void* limit() const noexcept;
  /// Lowest address the stack may ever use; below it lies the guard.
  [[nodiscard]] void* floor() const noexcept {
    return reinterpret_cast<void*>(slot_->floor.load(std::memory_order_relaxed));
  }

  /// Bytes from floor() to base().
  [[nodiscard]] std::size_t reserved() const noexcept {
    return slot_->base.load(std::memory_order_relaxed) -
           slot_->floor.load(std::memory_order_relaxed);
  }
  /// Bytes from limit() to base().
  [[nodiscard]] std::size_t committed() const noexcept;
  /// Bytes in physical memory now, the kernel's shared page of zeros left out where it can tell
  /// (PAGEMAP_SCAN, Linux 6.7; before that mincore(2)). Takes time in proportion.
  [[nodiscard]] std::size_t resident() const noexcept;
  /// Bytes from the deepest limit() ever to base(). Without growth events: to the deepest page that
  /// is resident now.
  [[nodiscard]] std::size_t high_water_mark() const noexcept;

  /// Never Strategy::automatic: what that chose.
  [[nodiscard]] Strategy strategy() const noexcept;
  /// Why Strategy::automatic did not choose its first candidate; empty if it did, or was not asked.
  /// Valid as long as the stack.
  [[nodiscard]] std::string_view fallback_reason() const noexcept;
  /// Valid as long as the stack.
  [[nodiscard]] std::string_view name() const noexcept;
  /// What it has seen so far.
  [[nodiscard]] StackCounters counters() const noexcept;

  /// Of a stack on which nothing runs and nothing is suspended: back to the initial commit, nothing
  /// of it resident. EBUSY while a call() runs on it; otherwise success or the errno of mmap(2),
  /// munmap(2), madvise(2).
  std::error_code trim() noexcept;

  /// Of a stack that is suspended with its stack pointer at `stack_pointer`: all memory below that
  /// is given back, and what is committed more than the policy's headroom below it. EINVAL if the
  /// pointer is not into this stack.
  std::error_code trim_below(const void* stack_pointer) noexcept;

  /// Of the stack that the caller runs on: everything well below the current frame is given back.
  /// As much again as is in use, and the initial commit, are kept (kept_limit in
  /// growth_policy.hpp), so that a stack which trims itself again and again does not lose and get
  /// the same memory each time. EINVAL if that is no growstack stack. Not from a signal handler.
  static std::error_code trim_current() noexcept;

 private:
  friend class StackAccess;
  friend class StackPool;
  explicit Stack(handler::SlotRecord* slot) noexcept : slot_(slot) {}
  static void give_back(handler::SlotRecord* slot, const std::string* fallback_reason) noexcept;

  handler::SlotRecord* slot_ = nullptr;           ///< null: moved from
  const std::string* fallback_reason_ = nullptr;  ///< owned; null: none, or the pool's
};

/// Where a stack lies; the words are those of the picture in growstack/handler/slot.hpp.
struct StackBounds {
  void* base = nullptr;   ///< highest address
  void* limit = nullptr;  ///< lowest committed one
  void* floor = nullptr;  ///< lowest one that it may ever use
  void* guard = nullptr;  ///< lowest one of the guard below

  /// Whether an address is the stack's own: from floor up to, but not including, base.
  [[nodiscard]] bool contains(const void* address) const noexcept {
    return std::less_equal<>()(static_cast<const void*>(floor), address) &&
           std::less<>()(address, base);
  }
};

/// Finds the growstack stack that an address lies in, from the lowest address of its guard up to
/// but not including its base. Returns nullopt if the address lies in none (`heap` stacks are never
/// found). Any thread, signal handlers included; `limit` of a grows_down stack is the one it began
/// with.
[[nodiscard]] std::optional<StackBounds> stack_bounds(const void* address) noexcept;
/// Finds the growstack stack that the caller runs on, as stack_bounds() does.
[[nodiscard]] std::optional<StackBounds> current_stack_bounds() noexcept;

/// All live stacks of this process together, and its faults so far. Any thread; not from a signal
/// handler.
struct ProcessCounters {
  std::size_t stacks = 0;     ///< live now
  std::size_t arenas = 0;     ///< reservations they lie in
  std::size_t reserved = 0;   ///< bytes, without guards
  std::size_t committed = 0;  ///< bytes
  std::uint64_t growth_faults =
      0;  ///< of these and of all stacks before; more of the kind: handler::counters()
};
/// As they are now.
[[nodiscard]] ProcessCounters process_counters();

/// Committed bytes that all stacks of this process may have together; SIZE_MAX, which it is at
/// first: as many as the system lets them. A stack that cannot be made within it throws ENOMEM; one
/// that cannot grow within it has overflowed, and is reported so. Those that are there already
/// stay. Any thread.
void set_process_budget(std::size_t bytes) noexcept;
/// The budget in force.
[[nodiscard]] std::size_t process_budget() noexcept;

}  // namespace growstack

#pragma GCC visibility pop
