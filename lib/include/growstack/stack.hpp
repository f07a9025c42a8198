// A stack that grows, as an object.
#pragma once

#include <growstack/export.hpp>
#include <growstack/options.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace growstack {

namespace handler {
struct SlotRecord;
}

class StackAccess;  // the library's own way in

/// Counts what happened to one stack, and tells its sizes. Sizes are in bytes, without the guard.
struct StackCounters {
  /// Growth faults that we served; 0 for strategies that grow without such faults. A fault counts
  /// before the stack grows, so it counts also if the growth then fails. The growth for a signal's
  /// frame that did not fit does not count.
  std::uint32_t growth_faults = 0;
  /// Growth faults by a thread that ran on another stack. `growth_faults` includes them.
  std::uint32_t remote_growth_faults = 0;
  /// For guard_markers: trims that found the stack deeper than any fault had told, because a frame
  /// larger than the window of markers had jumped over it.
  std::uint32_t unseen_growth = 0;
  std::size_t reserved = 0;    ///< from floor to base
  std::size_t committed = 0;   ///< from limit to base
  std::size_t high_water = 0;  ///< what Stack::high_water_mark() returns
};

/// Owns the address space of one stack. The first one that is made installs the SIGSEGV handler
/// (growstack/handler/handler.hpp).
///
/// To run something on it, use call() (growstack/call.hpp), or hand base() and reserved() to a
/// context library. Every thread that runs on it must be attached (growstack/attach.hpp); the
/// constructor attaches its own thread.
///
/// A moved-from Stack may only be destroyed or assigned to. Distinct stacks may be used by distinct
/// threads at once. One stack may be used by one thread at a time, except that any thread may call
/// the const member functions.
class GROWSTACK_EXPORT Stack {
 public:
  /// Reserves address space and commits `policy.initial_commit`. No page is resident yet, unless
  /// mlockall(2) was called with MCL_FUTURE. Attaches the calling thread. Any thread; not from a
  /// signal handler. Throws std::system_error: EINVAL if an option is out of range, ENOMEM with a
  /// message that names the limit and the cure, or the reason why the strategy does not work here.
  explicit Stack(const StackOptions& options = {});
  /// Gives memory and charge back at once, or gives the stack back to its pool
  /// (growstack/stack_pool.hpp). Exactly what was reserved is released with the last stack of the
  /// same reservation. Reservations of a few kinds of stacks are kept for about a second, because
  /// it takes a fraction of the time to make the next stack of equal options there. They go sooner
  /// if growstack::trim() is called, or if this library is short of address space; if the process
  /// has no symbolizer thread (handler::set_symbolizer()), they go when a later stack ends or is
  /// made. process_counters() does not count what is kept.
  ///
  /// Nothing may run on the stack. There is one exception: exit(3) on
  /// this stack destroys static and thread_local objects. The destructor then leaves the stack as
  /// it is, because the process ends. (It cannot tell this of a pool's stack that has not grown and
  /// was entered neither by call() nor by make_context().) Any thread; not from a signal handler.
  ~Stack();
  /// Takes the stack over. `other` is moved-from afterwards.
  Stack(Stack&& other) noexcept
      : slot_(std::exchange(other.slot_, nullptr)),
        fallback_reason_(std::exchange(other.fallback_reason_, nullptr)) {}
  /// Ends the stack that this object owned, as the destructor does, and takes the other one over.
  Stack& operator=(Stack&& other) noexcept;
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  /// Gives up the ownership and returns floor(). The stack stays until adopt() takes it over again.
  /// This is for code that can keep only an address, such as a C interface. Throws
  /// std::system_error: EINVAL for Strategy::heap, because the addresses of such a stack do not
  /// lead back to it; nothing has changed then.
  void* release();
  /// Takes over the stack that `address` lies in, which release() had given up. The address is any
  /// from floor() up to but not including base(). The stack's fallback_reason() is lost unless the
  /// stack belongs to a pool. Any thread; not from a signal handler. Throws std::system_error:
  /// EINVAL if the address lies in no stack. As with free(3), adopting a stack that has an owner is
  /// an error that nothing detects.
  [[nodiscard]] static Stack adopt(const void* address);

  /// Returns the highest address, where a stack pointer starts. It is a multiple of the page size.
  [[nodiscard]] void* base() const noexcept;
  /// Returns the lowest address that is committed now. It equals floor() for strategies without
  /// growth events (demand_paging, demand_paging_huge, locked, heap), and for guard_markers once
  /// the window of markers is used up, until a trim leaves markers. grows_down reads it from
  /// /proc/self/maps.
  [[nodiscard]] void* limit() const noexcept;
  /// Returns the lowest address that the stack may ever use. Below it lies the guard.
  [[nodiscard]] void* floor() const noexcept;

  /// Returns the bytes from floor() to base().
  [[nodiscard]] std::size_t reserved() const noexcept;
  /// Returns the bytes from limit() to base().
  [[nodiscard]] std::size_t committed() const noexcept;
  /// Returns the bytes that are in physical memory now (PAGEMAP_SCAN, Linux 6.7). The kernel's
  /// shared page of zeros does not count, except on older kernels, where mincore(2) is asked. Takes
  /// time in proportion to the committed bytes.
  [[nodiscard]] std::size_t resident() const noexcept;
  /// Returns the bytes from the deepest limit() that there ever was to base(). For strategies
  /// without growth events returns the bytes from the deepest page that is resident now. For
  /// guard_markers returns the bytes from the deepest page that was seen or is resident now, which
  /// may be less than committed().
  [[nodiscard]] std::size_t high_water_mark() const noexcept;

  /// Returns the strategy in use. It is never Strategy::automatic, but what that chose.
  [[nodiscard]] Strategy strategy() const noexcept;
  /// Returns why Strategy::automatic did not choose its first candidate, and what the one that it
  /// chose lacks here. Empty if it chose the first one, which lacks nothing, or if the options
  /// named a strategy. Valid as long as the stack.
  [[nodiscard]] std::string_view fallback_reason() const noexcept;
  /// Returns the name that reports use. Valid as long as the stack.
  [[nodiscard]] std::string_view name() const noexcept;
  /// Returns what happened to the stack so far, and its sizes.
  [[nodiscard]] StackCounters counters() const noexcept;

  /// Gives all memory back. What is committed of the initial commit stays so, but its memory is
  /// given back too. Nothing may run on the stack, and nothing may be suspended there. Not from a
  /// signal handler. Returns success; EBUSY while a call() runs on the stack; ENOTSUP for
  /// Strategy::locked and Strategy::heap; or the errno of mmap(2), munmap(2), madvise(2) or, for
  /// grows_down, of reading /proc/self/maps.
  [[nodiscard]] std::error_code trim() noexcept;

  /// Gives memory back while the stack is suspended with its stack pointer at `stack_pointer`.
  /// Gives back all physical memory below the pointer, except the red zone. Keeps the policy's
  /// `headroom` bytes below it committed, without memory. (A pool's stack also keeps its initial
  /// commit committed.) Not from a signal handler. Returns success; EINVAL if the pointer is not
  /// into this stack; ENOTSUP for Strategy::locked and Strategy::heap; or the errno of mmap(2),
  /// munmap(2), madvise(2) or, for grows_down, of reading /proc/self/maps.
  [[nodiscard]] std::error_code trim_below(const void* stack_pointer) noexcept;

  /// Gives memory back on the stack that the caller runs on: everything well below the current
  /// frame. Keeps as much again as is in use, and the initial commit (kept_limit() in
  /// growstack/growth_policy.hpp), so that a stack that trims itself again and again does not lose
  /// and get the same memory each time. Not from a signal handler. Returns success; EINVAL if the
  /// caller runs on no growstack stack, or on one of Strategy::heap, to which no address leads;
  /// ENOTSUP for Strategy::locked; or the errno of mmap(2), munmap(2), madvise(2) or, for
  /// grows_down, of reading /proc/self/maps.
  [[nodiscard]] static std::error_code trim_current() noexcept;

 private:
  friend class StackAccess;
  friend class StackPool;
  explicit Stack(handler::SlotRecord* slot) noexcept : slot_(slot) {}

  handler::SlotRecord* slot_ = nullptr;  ///< null: moved-from
  const std::string* fallback_reason_ =
      nullptr;  ///< owned; null: there is none, or the pool has it
};

namespace detail {

/// Returns a stack of these options that somebody gave back, or a new one. It has the given name,
/// and its contents are indeterminate. The end of the Stack keeps it for the next one. Throws what
/// Stack's constructor throws.
[[nodiscard]] GROWSTACK_EXPORT Stack kept_stack(const StackOptions& options);

}  // namespace detail

/// Tells where a stack lies. The words are those of the picture in growstack/handler/slot.hpp.
struct StackBounds {
  void* base = nullptr;   ///< highest address
  void* limit = nullptr;  ///< lowest committed address
  void* floor = nullptr;  ///< lowest address that the stack may ever use
  void* guard = nullptr;  ///< lowest address of the guard below

  /// Returns whether an address is the stack's own: from floor up to but not including base.
  [[nodiscard]] bool contains(const void* address) const noexcept {
    return std::less_equal<>()(static_cast<const void*>(floor), address) &&
           std::less<>()(address, base);
  }
};

/// Finds the growstack stack that an address lies in, from the lowest address of its guard up to
/// but not including its base. Returns nullopt if the address lies in none; stacks of
/// Strategy::heap are never found. `limit` is what Stack::limit() returns, but for grows_down it is
/// the limit that the stack began with. Any thread, signal handlers included; such a handler may
/// leave by siglongjmp(3).
[[nodiscard]] GROWSTACK_EXPORT std::optional<StackBounds> stack_bounds(
    const void* address) noexcept;
/// Finds the growstack stack that the caller runs on, as stack_bounds() does. Any thread, signal
/// handlers included.
[[nodiscard]] GROWSTACK_EXPORT std::optional<StackBounds> current_stack_bounds() noexcept;

/// Counts all live stacks of this process together, and the faults so far. The idle stacks of a
/// StackPool count as live. Those that call() keeps do not, but what they have committed does.
struct ProcessCounters {
  std::size_t stacks = 0;     ///< that live now
  std::size_t arenas = 0;     ///< reservations that these stacks lie in
  std::size_t reserved = 0;   ///< bytes, without guards
  std::size_t committed = 0;  ///< bytes
  /// Growth faults of these stacks and of all that lived before. handler::counters() has more.
  std::uint64_t growth_faults = 0;
};
/// Returns the counters as they are now. Any thread; not from a signal handler.
[[nodiscard]] GROWSTACK_EXPORT ProcessCounters process_counters();

/// Sets how many bytes all stacks of this process may have committed together. At first this is
/// SIZE_MAX: as many as the system allows. A stack that cannot be made within the budget throws
/// std::system_error with ENOMEM. A stack that cannot grow within it has overflowed, and is
/// reported so. Stacks that exist already stay. In both cases, the idle stacks that call() keeps
/// are given back first. For growth, the symbolizer thread does that: the process must have it
/// (handler::set_symbolizer()), and the code that grows must hold no lock that it needs; growth
/// waits 0.2 s for it. The idle stacks of a StackPool stay. Any thread.
GROWSTACK_EXPORT void set_process_budget(std::size_t bytes) noexcept;
/// Returns the budget in force, in bytes. Any thread.
[[nodiscard]] GROWSTACK_EXPORT std::size_t process_budget() noexcept;

/// Gives back what this library keeps although nobody uses it now:
///
/// - the idle stacks of call(), Thread and ensure_stack(), and the address space of stacks that
///   ended in the last second. Without this function the symbolizer thread gives them back after
///   one to two seconds; if the process has no such thread (handler::set_symbolizer()), later
///   stacks and calls do.
/// - the alternate signal stacks of threads that have ended, at most 16. They go only by this
///   function, handler::give_alternate_stacks_back(), handler::uninstall() or
///   handler::set_alternate_stack_size().
///
/// The idle stacks of a StackPool stay: it has its own trim(). Any thread; not from a signal
/// handler.
GROWSTACK_EXPORT void trim() noexcept;

}  // namespace growstack
