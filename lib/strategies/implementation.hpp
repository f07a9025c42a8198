// What a strategy does: how a slot of address space becomes a stack, gives memory back, and ends.
// What a strategy is, its StrategyDescription says (growstack/strategy.hpp).
//
// To add a strategy: an enumerator before Strategy::automatic; one file here, with a description, a
// class derived from Implementation, and implementation_of<Strategy::...>(); that file's line in
// CMakeLists.txt; its traits and its name in tests/support/each_strategy.hpp (notes/changing.md).
// If one of these is missing, the linker or a test names it.
#pragma once

#include "memory/vm.hpp"
#include "strategies/layout.hpp"
#include "strategies/low_end.hpp"

#include <growstack/handler/slot.hpp>
#include <growstack/options.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>

namespace growstack {

/// Returns where the stack of a slot lies.
[[nodiscard]] inline Bounds bounds_of(const handler::SlotRecord& slot) noexcept {
  return {.base = slot.base.load(std::memory_order_relaxed),
          .floor = slot.floor.load(std::memory_order_relaxed),
          .guard = slot.guard.load(std::memory_order_relaxed)};
}

/// The behaviour of a strategy. Results are 0 or an errno. Any thread may call these functions, but
/// only one thread uses a slot at a time unless a function says otherwise.
class Implementation {
 public:
  Implementation(const Implementation&) = delete;
  Implementation& operator=(const Implementation&) = delete;

  [[nodiscard]] const StrategyDescription& description() const noexcept { return description_; }

  /// Throws std::system_error if a limit of this process forbids such a stack.
  virtual void check(const StackOptions& options) const { static_cast<void>(options); }

  /// Returns what a stack of this strategy lacks on this machine because a privilege or a setting
  /// is missing. Empty if it lacks nothing.
  [[nodiscard]] virtual std::string missing_here() const { return {}; }

  /// Starts what this strategy needs beyond the SIGSEGV handler and the helper thread. Throws
  /// std::system_error.
  virtual void start() const {}

  [[nodiscard]] virtual Layout layout(const StackOptions& options) const noexcept {
    return description_.huge_pages ? layout_with_huge_pages(options)
                                   : layout_with_small_pages(options);
  }

  /// Moves a slot from Reserved to the state that it has between two stacks. Called before the
  /// first stack of the slot.
  [[nodiscard]] virtual int prepare(const Bounds& bounds, const Layout& layout) const noexcept {
    static_cast<void>(bounds);
    static_cast<void>(layout);
    return 0;
  }

  /// Does prepare() and open() for `count` adjacent slots that had no stack yet, in fewer system
  /// calls. `lowest` is the lowest of them. Each stack has its initial commit then. ENOTSUP: the
  /// caller opens them one by one. After a failure all slots are as before.
  [[nodiscard]] virtual int open_in_row(const Bounds& lowest, std::uint32_t count,
                                        const Layout& layout,
                                        const StackOptions& options) const noexcept {
    static_cast<void>(lowest);
    static_cast<void>(count);
    static_cast<void>(layout);
    static_cast<void>(options);
    return ENOTSUP;
  }

  /// Returns what an errno of prepare() or open() means for this strategy, as the end of a message.
  /// Empty if it means nothing special.
  [[nodiscard]] virtual std::string explain(int error) const {
    static_cast<void>(error);
    return {};
  }

  /// Returns the limit of a stack that open() or open_in_row() makes. It is known beforehand, so
  /// that a stack can be charged before it is made.
  [[nodiscard]] virtual std::uintptr_t first_limit(const Bounds& bounds,
                                                   const StackOptions& options) const noexcept {
    return bounds.base - options.policy.initial_commit;
  }

  /// Returns how many bytes open() asks the system for. After a failure, limits are compared with
  /// them.
  [[nodiscard]] virtual std::size_t asked_by_open(const Bounds& bounds,
                                                  const StackOptions& options) const noexcept {
    return bounds.base - first_limit(bounds, options);
  }

  /// Makes a stack of the slot. After a failure the slot is as before.
  [[nodiscard]] virtual int open(const Bounds& bounds, const Layout& layout,
                                 const StackOptions& options) const noexcept = 0;

  /// Moves `step` from Reserved to Committed, because a fault asked for it. May run in a signal
  /// handler, and in several threads for one slot.
  [[nodiscard]] virtual int commit(const handler::SlotRecord& slot, const Layout& layout,
                                   handler::Step step) const noexcept {
    static_cast<void>(slot);
    static_cast<void>(layout);
    return vm::commit(step.begin, step.end - step.begin);
  }

  /// Lets growth see from now on which pages at the low end of a stack the program forbids
  /// (strategies/low_end.hpp). Strategies whose whole stack may be touched see that anyway. A
  /// failure does no harm; then growth does not see it.
  virtual void watch_low_end(handler::SlotRecord& slot) const noexcept {
    slot.marks.fetch_or(low_end_mark, std::memory_order_release);
  }

  /// Permits what the program forbade in a stack that had a thread, because the next tenant is
  /// another one. What grows by permission, growth permits.
  [[nodiscard]] virtual int permit_all(const handler::SlotRecord& slot) const noexcept {
    const Bounds bounds = bounds_of(slot);
    return vm::commit(bounds.floor, bounds.base - bounds.floor);
  }

  /// Gives everything below `keep_from` (page aligned) back to the system; the stack can grow there
  /// again. The code that runs on the stack may call it. Only for strategies that trim.
  [[nodiscard]] virtual int trim(handler::SlotRecord& slot, const Layout& layout,
                                 std::uintptr_t keep_from) const noexcept = 0;

  /// Gives physical memory back. What is Committed stays Committed.
  [[nodiscard]] virtual int discard(std::uintptr_t begin, std::size_t size) const noexcept {
    return vm::discard(begin, size);
  }

  /// Gives back the physical memory of all that is Committed in [begin, end), for several adjacent
  /// stacks that stay open. `begin` is the floor of the lowest one, and `end` is the base of the
  /// highest one. Nothing runs on them, and each one either never grew or was trimmed. ENOTSUP: the
  /// caller closes them instead, because an open stack of this strategy costs more than its memory.
  [[nodiscard]] virtual int discard_in_row(std::uintptr_t begin,
                                           std::uintptr_t end) const noexcept {
    static_cast<void>(begin);
    static_cast<void>(end);
    return ENOTSUP;
  }

  /// Ends a stack: the slot goes back to the state that prepare() left.
  [[nodiscard]] virtual int close(const handler::SlotRecord& slot,
                                  const Layout& layout) const noexcept = 0;

  /// Ends a stack as close() does, in a slot that soon has the next one. So it may leave the slot
  /// more mappings than close() would, as many as a stack has.
  [[nodiscard]] virtual int close_for_the_next(const handler::SlotRecord& slot,
                                               const Layout& layout) const noexcept {
    return close(slot, layout);
  }

  /// Called before an arena is unmapped.
  virtual void forget(std::uintptr_t begin, std::size_t size) const noexcept {
    static_cast<void>(begin);
    static_cast<void>(size);
  }

  /// Returns the lowest address that counts as committed if the slot's limit is `limit`. May run in
  /// a signal handler.
  [[nodiscard]] virtual std::uintptr_t committed_from(const Bounds& bounds, const Layout& layout,
                                                      std::uintptr_t limit) const noexcept {
    static_cast<void>(bounds);
    static_cast<void>(layout);
    return limit;
  }

  /// Returns the lowest address that is committed now. Any thread at any time.
  [[nodiscard]] virtual std::uintptr_t limit(const handler::SlotRecord& slot,
                                             const Layout& layout) const noexcept {
    return committed_from(bounds_of(slot), layout, slot.limit.load(std::memory_order_acquire));
  }

  /// Returns the lowest address that was ever committed. Any thread at any time.
  [[nodiscard]] virtual std::uintptr_t high_water(const handler::SlotRecord& slot,
                                                  const Layout& layout) const noexcept {
    static_cast<void>(layout);
    return slot.high_water.load(std::memory_order_acquire);
  }

 protected:
  /// The description must outlive this object.
  explicit constexpr Implementation(const StrategyDescription& description) noexcept
      : description_(description) {}
  ~Implementation() = default;

 private:
  const StrategyDescription& description_;
};

/// Returns the one object that implements a strategy. Each strategy's file defines its own, and
/// nothing else does: a strategy without a file is an undefined reference.
template <Strategy strategy>
[[nodiscard]] const Implementation& implementation_of() noexcept;

/// Returns the implementation of a strategy; null for `automatic`, and for a value that is not in
/// the enumeration.
[[nodiscard]] const Implementation* implementation(Strategy strategy) noexcept;

}  // namespace growstack
