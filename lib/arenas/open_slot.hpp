// A slot in which a stack lives, as the library sees it.
#pragma once

#include "arenas/runner.hpp"

#include <growstack/handler/slot.hpp>
#include <growstack/options.hpp>

#include <cstddef>
#include <cstdint>

namespace growstack {

class Arena;
class Implementation;

/// The last trim of a stack by code that ran on it. If the next such trim finds the same
/// circumstances (the thread, how many page faults it had met, the limit), then no memory can have
/// appeared below what was kept. The exception is memory that another thread touched: a later trim
/// finds it.
struct TrimWhileRunning {
  std::uint64_t circumstances = 0;  ///< a hash of them; 0: not known
  std::uintptr_t kept_from = 0;

  [[nodiscard]] bool leaves_nothing_to_do_for(const TrimWhileRunning& next) const noexcept {
    return circumstances != 0 && circumstances == next.circumstances && next.kept_from <= kept_from;
  }
};

/// What the library stores about a stack in addition to its slot record. A million of these must
/// stay affordable.
struct Tenant {
  TrimWhileRunning trim_while_running{};  ///< used by the code that runs on the stack
};

// The bits of SlotRecord::marks. A stack of a pool has none of them as long as nothing happened to
// it.

/// The number of the stack's name in its pool; 0: the pool's own name.
inline constexpr std::uint32_t name_mask = 0xffU;
/// A call() runs on the stack, or ran there in a thread that a forked child does not have, or was
/// left by longjmp.
inline constexpr std::uint32_t running_mark = 1U << 8U;
/// A context was made that enters the stack. So when the stack is given back, somebody looks
/// whether code runs there, which only exit(3) leads to.
inline constexpr std::uint32_t entered_mark = 1U << 10U;
// 1U << 11U is low_end_mark (strategies/low_end.hpp).
/// No event tells whether this stack of a pool has grown.
inline constexpr std::uint32_t grows_unseen_mark = 1U << 9U;
/// The stack was trimmed to the warm size before this tenancy, which tells how deep it goes.
inline constexpr std::uint32_t sampled_mark = 1U << 12U;
/// The stack must be looked at when it comes back, although it may not have grown: its tenant
/// trimmed it, or stacks of its name are not kept so deep any more. Another thread may set it at
/// any time.
inline constexpr std::uint32_t look_mark = 1U << 13U;

/// A reference to a slot in which a stack lives. As cheap as a pointer; may be null.
class OpenSlot {
 public:
  OpenSlot() = default;
  explicit OpenSlot(handler::SlotRecord* record) noexcept : record_(record) {}

  explicit operator bool() const noexcept { return record_ != nullptr; }
  [[nodiscard]] handler::SlotRecord& record() const noexcept { return *record_; }
  [[nodiscard]] Arena& arena() const noexcept {
    return *static_cast<Arena*>(record_->owner.load(std::memory_order_relaxed));
  }

  // These four are defined in arena.hpp, because they ask the arena.
  [[nodiscard]] std::uint32_t index() const noexcept;
  [[nodiscard]] Tenant& tenant() const noexcept;
  [[nodiscard]] const Implementation& implementation() const noexcept;
  [[nodiscard]] const GrowthPolicy& policy() const noexcept;

  [[nodiscard]] std::uintptr_t base() const noexcept {
    return record_->base.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uintptr_t floor() const noexcept {
    return record_->floor.load(std::memory_order_relaxed);
  }

  /// Returns who runs the call() that runs on the stack. It lies at the upper end of the stack
  /// itself, in two lines of a cache that nothing else uses, so that threads whose stacks are
  /// neighbours in a table do not write to the same line.
  [[nodiscard]] Runner& runner() const noexcept {
    return *reinterpret_cast<Runner*>(base_of_frames());
  }
  /// Returns where the frames of a call() start.
  [[nodiscard]] std::uintptr_t base_of_frames() const noexcept {
    constexpr std::size_t two_lines = 128;
    static_assert(sizeof(Runner) <= two_lines);
    return base() - two_lines;
  }

  /// Returns whether a call() runs on the stack in a thread of this process.
  [[nodiscard]] bool is_running() const noexcept;

  [[nodiscard]] bool contains(std::uintptr_t address) const noexcept {
    return floor() <= address && address < base();
  }
  /// Returns whether the calling code runs on this stack, or in a call() that was made from there,
  /// at any depth: whether frames of this thread are alive there.
  [[nodiscard]] bool has_frames_of_caller() const noexcept;

  /// Returns the number of the stack's name in its pool.
  [[nodiscard]] std::size_t name_number() const noexcept {
    return record_->marks.load(std::memory_order_relaxed) & name_mask;
  }
  [[nodiscard]] bool has_default_name() const noexcept { return name_number() == 0; }

  /// Returns the lowest address that is committed now.
  [[nodiscard]] std::uintptr_t limit() const noexcept;
  /// Returns the lowest address that was ever committed.
  [[nodiscard]] std::uintptr_t high_water() const noexcept;

  /// Gives everything below `keep_from` (page aligned) back to the system, and credits the account.
  /// Returns 0, ENOTSUP for a strategy that does not trim, or the errno of Implementation::trim.
  [[nodiscard]] int trim(std::uintptr_t keep_from) const noexcept;

  /// Returns how many bytes an idle stack has committed, or, if no event tells, resident.
  [[nodiscard]] std::size_t idle_depth() const noexcept;
  /// Trims an idle stack to a depth in bytes, and lets its high-water mark begin anew there.
  /// Returns what trim() returns.
  [[nodiscard]] int flatten(std::size_t depth) const noexcept;
  /// Does the same, because stacks of its name are not kept so deep any more. If only the initial
  /// commit is left, the memory of that goes, too, except for the first page: a load that touches
  /// no more must not keep what a deeper one has left there.
  [[nodiscard]] int flatten_for_good(std::size_t depth) const noexcept;

 private:
  [[nodiscard]] int give_back_below(std::uintptr_t keep_from) const noexcept;

  handler::SlotRecord* record_ = nullptr;
};

}  // namespace growstack
