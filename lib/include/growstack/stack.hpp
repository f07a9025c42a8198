// A stack that grows, as an object.
#pragma once

#include <growstack/options.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <system_error>

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack {

class [[gnu::visibility("hidden")]] StackAccess;  // the library's own way in

/// What one stack has seen and has; sizes in bytes, without the guard.
struct StackCounters {
  std::uint32_t growth_faults = 0;         ///< faults of ours that grew it; 0 for strategies that grow without them
  std::uint32_t remote_growth_faults = 0;  ///< of these, by a thread that ran elsewhere
  std::uint32_t unseen_growth = 0;         ///< guard_markers: trims that found it deeper than any fault had told, because a
                                           ///< frame larger than the window of markers had jumped over that
  std::size_t reserved = 0;
  std::size_t committed = 0;
  std::size_t high_water = 0;  ///< deepest ever committed
};

/// Owns the address space of one stack. Making the first one installs the SIGSEGV handler (growstack/handler/handler.hpp).
///
/// To run something on it, use call() (growstack/call.hpp), or hand base() and reserved() to a context library; every
/// thread that runs on it must have called handler::attach_thread(), which the constructor does for its own.
///
/// A moved-from Stack may only be destroyed or assigned to. Distinct stacks may be used by distinct threads at once; one
/// stack by one thread at a time, but for the observers, which any thread may call.
class Stack {
 public:
  /// Reserves address space and commits `policy.initial_commit`. No page is resident yet (unless mlockall(2) has
  /// MCL_FUTURE). Throws std::system_error: EINVAL (an option out of range), ENOMEM (the message names the limit and the
  /// cure), or what keeps the strategy from working here.
  explicit Stack(const StackOptions& options = {});
  ~Stack() = default;  ///< Releases exactly what was reserved. Nothing may run on the stack.
  Stack(Stack&&) noexcept = default;
  Stack& operator=(Stack&&) noexcept = default;
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  /// Highest address: a stack pointer starts here. Multiple of the page size.
  [[nodiscard]] void* base() const noexcept;
  /// Lowest committed address now. Equal to floor() for strategies without growth events (demand_paging, locked, heap), and
  /// for guard_markers once its window of markers is used up; grows_down reads it from /proc/self/maps.
  [[nodiscard]] void* limit() const noexcept;
  /// Lowest address the stack may ever use; below it lies the guard.
  [[nodiscard]] void* floor() const noexcept;

  /// Bytes from floor() to base().
  [[nodiscard]] std::size_t reserved() const noexcept;
  /// Bytes from limit() to base().
  [[nodiscard]] std::size_t committed() const noexcept;
  /// Bytes in physical memory now, the kernel's shared page of zeros left out where it can tell (PAGEMAP_SCAN, Linux 6.7;
  /// before that mincore(2)). Takes time in proportion.
  [[nodiscard]] std::size_t resident() const noexcept;
  /// Bytes from the deepest limit() ever to base(). Without growth events: to the deepest page that is resident now.
  [[nodiscard]] std::size_t high_water_mark() const noexcept;

  /// Never Strategy::automatic: what that chose.
  [[nodiscard]] Strategy strategy() const noexcept;
  /// Why Strategy::automatic did not choose its first candidate; empty if it did, or was not asked. Valid as long as the
  /// stack.
  [[nodiscard]] std::string_view fallback_reason() const noexcept;
  /// Valid as long as the stack.
  [[nodiscard]] std::string_view name() const noexcept;
  [[nodiscard]] StackCounters counters() const noexcept;

  /// Of a stack on which nothing runs and nothing is suspended: back to the initial commit, nothing of it resident.
  /// EBUSY while a call() runs on it; otherwise success or the errno of mmap(2), munmap(2), madvise(2).
  std::error_code trim() noexcept;

  /// Of a stack that is suspended with its stack pointer at `stack_pointer`: everything more than the policy's headroom
  /// below that is given back. EINVAL if the pointer is not into this stack.
  std::error_code trim(const void* stack_pointer) noexcept;

  /// Of the stack that the caller runs on: everything well below the current frame is given back. As much again as is in
  /// use, and the initial commit, are kept (kept_limit in growth_policy.hpp), so that a stack which trims itself again and
  /// again does not lose and get the same memory each time. EINVAL if that is no growstack stack. Not from a signal handler.
  static std::error_code trim_current() noexcept;

 private:
  friend class StackAccess;
  struct [[gnu::visibility("hidden")]] State;
  struct Close {
    void operator()(State* state) const noexcept;
  };
  /// With a strategy that is not `automatic`.
  void open(const StackOptions& options);
  std::unique_ptr<State, Close> state_;
};

/// Where a stack lies; the words are those of the picture in growstack/handler/slot.hpp.
struct StackBounds {
  void* base = nullptr;
  void* limit = nullptr;
  void* floor = nullptr;
  void* guard = nullptr;

  /// Whether an address is the stack's own: from floor up to, but not including, base.
  [[nodiscard]] bool contains(const void* address) const noexcept {
    return std::less_equal<>()(static_cast<const void*>(floor), address) && std::less<>()(address, base);
  }
};

/// The growstack stack that an address lies in, or that the caller runs on; false if there is none. Any thread, signal
/// handlers included (`limit` of grows_down is then its first one).
[[nodiscard]] bool stack_bounds(const void* address, StackBounds& bounds) noexcept;
[[nodiscard]] bool current_stack_bounds(StackBounds& bounds) noexcept;

/// All live stacks of this process together, and its faults so far. Any thread; not from a signal handler.
struct ProcessCounters {
  std::size_t stacks = 0;
  std::size_t arenas = 0;           ///< reservations they lie in
  std::size_t reserved = 0;         ///< bytes, without guards
  std::size_t committed = 0;        ///< bytes
  std::uint64_t growth_faults = 0;  ///< of these and of all stacks before; more of the kind: handler::counters()
};
[[nodiscard]] ProcessCounters process_counters();

}  // namespace growstack

#pragma GCC visibility pop
