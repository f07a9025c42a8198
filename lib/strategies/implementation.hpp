// What a strategy is, behind the enumeration: how a slot of address space becomes a stack, gives
// memory back, and ends.
#pragma once

#include <growstack/handler/slot.hpp>
#include <growstack/options.hpp>

#include "memory/vm.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>

namespace growstack {

/// Where one stack lies: guard <= floor < base, page aligned.
struct Bounds {
  std::uintptr_t base = 0;
  std::uintptr_t floor = 0;
  std::uintptr_t guard = 0;
};

/// How slots lie in an arena, which begins at a multiple of 64 MiB: the first one at `first`, one
/// after the other. In each the stack lies at the upper end, so that what a slot has too much lies
/// below the guard.
struct Layout {
  std::size_t first = 0;
  std::size_t slot_size = 0;
  std::size_t reserve = 0;
  std::size_t guard = 0;
  /// The depth at which a huge page may begin: base - huge_from is at a multiple of one. 0: small
  /// pages only.
  std::size_t huge_from = 0;
  /// guard_markers: the depth to which every growth is an event.
  std::size_t window = 0;

  [[nodiscard]] vm::Pages pages() const noexcept {
    return huge_from == 0 ? vm::Pages::small : vm::Pages::huge_too;
  }
};

/// What a trim does about the limit while `give_back_memory` takes away all below `keep_from`. The
/// word is raised first: a thread that faults in between commits again. And once more at the end,
/// whether or not that failed: what such a thread committed may have been taken away after that,
/// and the word must never claim what is not there. What remains committed below the limit does no
/// harm.
template <class GiveBack>
[[nodiscard]] int give_back(handler::SlotRecord& slot, std::uintptr_t keep_from,
                            GiveBack give_back_memory) noexcept {
  slot.limit.store(keep_from, std::memory_order_release);
  const int error = give_back_memory();
  slot.limit.store(keep_from, std::memory_order_release);
  return error;
}

/// Of a smaller stack little could be huge, and small stacks are many: address space counts.
inline constexpr std::size_t least_for_huge_pages = 2 * vm::huge_page;

/// With huge pages where the policy wishes for them and the stack is large enough: base lies so
/// that the depth at which they begin is at a multiple of theirs.
[[nodiscard]] inline Layout layout_with_huge_pages(const StackOptions& options) noexcept {
  const std::size_t huge_from = options.policy.huge_from;
  const std::size_t whole = options.reserve + options.guard;
  if (huge_from == 0 || options.reserve < least_for_huge_pages) {
    return {.first = 0, .slot_size = whole, .reserve = options.reserve, .guard = options.guard};
  }
  return {.first = huge_from % vm::huge_page,
          .slot_size = vm::round_up(whole, vm::huge_page),
          .reserve = options.reserve,
          .guard = options.guard,
          .huge_from = huge_from};
}

/// Results are 0 or an errno. Any thread; nobody else uses the slot meanwhile, unless it says so.
class Implementation {
 public:
  Implementation() = default;
  Implementation(const Implementation&) = delete;
  Implementation& operator=(const Implementation&) = delete;

  [[nodiscard]] virtual const StrategyDescription& description() const noexcept = 0;
  [[nodiscard]] virtual handler::Growth growth() const noexcept = 0;
  [[nodiscard]] virtual handler::Committer committer() const noexcept {
    return handler::Committer::handler;
  }

  /// Throws std::system_error where a limit of this process forbids such a stack.
  virtual void check(const StackOptions& options) const { static_cast<void>(options); }

  /// What a stack of this strategy lacks on this machine, for want of a privilege or a setting;
  /// empty for nothing.
  [[nodiscard]] virtual std::string missing_here() const { return {}; }

  /// Starts what this strategy needs of the process beyond the fault handler. Throws
  /// std::system_error.
  virtual void start() const {}

  /// Of a growth policy: larger ones count as this.
  [[nodiscard]] virtual double largest_factor() const noexcept { return 16; }

  [[nodiscard]] virtual Layout layout(const StackOptions& options) const noexcept {
    return {.first = 0,
            .slot_size = options.reserve + options.guard,
            .reserve = options.reserve,
            .guard = options.guard};
  }

  /// Before the first stack of a slot: moves it from Reserved to whatever it is between stacks.
  [[nodiscard]] virtual int prepare(const Bounds& bounds, const Layout& layout) const noexcept {
    static_cast<void>(bounds);
    static_cast<void>(layout);
    return 0;
  }

  /// prepare() and open() of `count` slots side by side that had no stack yet, the lowest of which
  /// is `lowest`, in fewer system calls than one by one; each is open down to its initial commit.
  /// ENOTSUP: one by one it is. When it fails, all slots are as before.
  [[nodiscard]] virtual int open_in_row(const Bounds& lowest, std::uint32_t count,
                                        const Layout& layout,
                                        const StackOptions& options) const noexcept {
    static_cast<void>(lowest);
    static_cast<void>(count);
    static_cast<void>(layout);
    static_cast<void>(options);
    return ENOTSUP;
  }

  /// What an errno of prepare() or open() means in particular, as the end of a message; empty for
  /// nothing beyond the usual.
  [[nodiscard]] virtual std::string explain(int error) const {
    static_cast<void>(error);
    return {};
  }

  /// Bytes that open() asks the system for: what a limit is compared with when that fails.
  [[nodiscard]] virtual std::size_t asked_by_open(const Bounds& bounds,
                                                  const StackOptions& options) const noexcept {
    static_cast<void>(bounds);
    return options.policy.initial_commit;
  }

  /// Makes a stack of the slot and tells the limit it starts with. When it fails, the slot is as
  /// before.
  [[nodiscard]] virtual int open(const Bounds& bounds, const Layout& layout,
                                 const StackOptions& options,
                                 std::uintptr_t& limit) const noexcept = 0;

  /// Growth by fault: moves `step` from Reserved to Committed. Signal handlers included.
  [[nodiscard]] virtual int commit(const handler::SlotRecord& slot, const Layout& layout,
                                   handler::Step step) const noexcept {
    static_cast<void>(slot);
    static_cast<void>(layout);
    return vm::commit(step.begin, step.end - step.begin);
  }

  /// Gives everything below `keep_from` (page aligned) back to the system; the stack can grow there
  /// again. May be called from the stack itself. ENOTSUP where that makes no sense.
  [[nodiscard]] virtual int trim(handler::SlotRecord& slot, const Layout& layout,
                                 std::uintptr_t keep_from) const noexcept = 0;

  /// True if memory may be there below the limit, or be gone from above it, without an event: a
  /// trim has to ask the kernel.
  [[nodiscard]] virtual bool may_grow_unseen() const noexcept { return true; }

  /// Committed stays Committed, and physical memory is given back.
  [[nodiscard]] virtual int discard(std::uintptr_t begin, std::size_t size) const noexcept {
    return vm::discard(begin, size);
  }

  /// Gives back the memory of all that is Committed in [begin, end), which ends with the base of a
  /// stack and begins with the floor of the same or of one below; nothing runs there, and none of
  /// them ever grew or each was trimmed. All of them stay open. ENOTSUP: they are to be closed
  /// instead, for open ones cost more than memory.
  [[nodiscard]] virtual int discard_in_row(std::uintptr_t begin,
                                           std::uintptr_t end) const noexcept {
    static_cast<void>(begin);
    static_cast<void>(end);
    return ENOTSUP;
  }

  /// The stack has ended: back to the state that prepare() left.
  [[nodiscard]] virtual int close(const handler::SlotRecord& slot,
                                  const Layout& layout) const noexcept = 0;

  /// An arena is about to be unmapped.
  virtual void forget(std::uintptr_t begin, std::size_t size) const noexcept {
    static_cast<void>(begin);
    static_cast<void>(size);
  }

  /// The lowest address that counts as committed when the slot's limit is `limit`. Signal handlers
  /// included.
  [[nodiscard]] virtual std::uintptr_t committed_from(const handler::SlotRecord& slot,
                                                      const Layout& layout,
                                                      std::uintptr_t limit) const noexcept {
    static_cast<void>(slot);
    static_cast<void>(layout);
    return limit;
  }

  /// Lowest committed address now, and the lowest ever. Any thread at any time.
  [[nodiscard]] virtual std::uintptr_t limit(const handler::SlotRecord& slot,
                                             const Layout& layout) const noexcept {
    return committed_from(slot, layout, slot.limit.load(std::memory_order_acquire));
  }
  [[nodiscard]] virtual std::uintptr_t high_water(const handler::SlotRecord& slot,
                                                  const Layout& layout) const noexcept {
    static_cast<void>(layout);
    return slot.high_water.load(std::memory_order_acquire);
  }

  /// False for a strategy that cannot keep the address space between its slots and below them: it
  /// gets one slot per arena, and of that arena only [begin, floor) is left after close().
  [[nodiscard]] virtual bool keeps_reservation() const noexcept { return true; }

  /// True for memory that comes from malloc and that the fault handler knows nothing of: one stack
  /// per arena.
  [[nodiscard]] virtual bool from_heap() const noexcept { return false; }

 protected:
  ~Implementation() = default;
};

/// nullptr for `automatic`, and for a value that is not in the enumeration.
[[nodiscard]] const Implementation* implementation(Strategy strategy) noexcept;

// One file each.
[[nodiscard]] const Implementation& pipe_helper_strategy() noexcept;
[[nodiscard]] const Implementation& in_handler_strategy() noexcept;
[[nodiscard]] const Implementation& guard_markers_strategy() noexcept;
[[nodiscard]] const Implementation& userfault_strategy() noexcept;
[[nodiscard]] const Implementation& userfault_signal_strategy() noexcept;
[[nodiscard]] const Implementation& grows_down_strategy() noexcept;
[[nodiscard]] const Implementation& demand_paging_strategy() noexcept;
[[nodiscard]] const Implementation& demand_paging_huge_strategy() noexcept;
[[nodiscard]] const Implementation& locked_strategy() noexcept;
[[nodiscard]] const Implementation& heap_strategy() noexcept;

}  // namespace growstack
