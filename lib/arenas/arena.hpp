// Arenas: one reservation each, cut into slots of one size for one strategy. Every stack is a slot
// of an arena, single ones too, so that there is one mechanism.
#pragma once

#include "memory/account.hpp"
#include "memory/index_set.hpp"
#include "strategies/implementation.hpp"

#include <growstack/handler/ranges.hpp>
#include <growstack/options.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace growstack {

class Arena;
class PoolCore;

/// The last trim of a stack by the code that ran on it: as long as the circumstances are the same
/// (who ran there, the page faults that its thread had met, the limit), nothing can have come to
/// lie below what was kept. (But by another thread's touch; then a later trim finds it.)
struct TrimWhileRunning {
  std::uint64_t circumstances = 0;  ///< a hash of them; 0: not known
  std::uintptr_t kept_from = 0;

  [[nodiscard]] bool leaves_nothing_to_do_for(const TrimWhileRunning& next) const noexcept {
    return circumstances != 0 && circumstances == next.circumstances && next.kept_from <= kept_from;
  }
};

/// What the library keeps of a stack beside its slot record. A million of them must stay
/// affordable.
struct Tenant {
  TrimWhileRunning trim_while_running{};  ///< for whoever runs on it
};

/// Of SlotRecord::marks. A stack of a pool on which nothing happened has none.
inline constexpr std::uint32_t name_mask =
    0xffU;  ///< the number of its name in the pool; 0: the pool's own
inline constexpr std::uint32_t running_mark = 1U << 8U;  ///< a call() runs on it
inline constexpr std::uint32_t grows_unseen_mark =
    1U << 9U;  ///< no event tells whether a stack of this pool has grown

/// Where an open stack lives.
class Place {
 public:
  Place() = default;
  explicit Place(handler::SlotRecord* slot) noexcept : slot_(slot) {}

  explicit operator bool() const noexcept { return slot_ != nullptr; }
  [[nodiscard]] handler::SlotRecord& slot() const noexcept { return *slot_; }
  [[nodiscard]] handler::SlotRecord* record() const noexcept { return slot_; }
  [[nodiscard]] Arena& arena() const noexcept {
    return *static_cast<Arena*>(slot_->owner.load(std::memory_order_relaxed));
  }
  [[nodiscard]] std::uint32_t index() const noexcept;
  [[nodiscard]] Tenant& tenant() const noexcept;
  [[nodiscard]] const Implementation& implementation() const noexcept;
  [[nodiscard]] const GrowthPolicy& policy() const noexcept;

  [[nodiscard]] std::uintptr_t base() const noexcept {
    return slot_->base.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uintptr_t floor() const noexcept {
    return slot_->floor.load(std::memory_order_relaxed);
  }

  [[nodiscard]] bool has_default_name() const noexcept {
    return (slot_->marks.load(std::memory_order_relaxed) & name_mask) == 0;
  }

  /// Lowest committed address now, and the lowest ever.
  [[nodiscard]] std::uintptr_t limit() const noexcept;
  [[nodiscard]] std::uintptr_t high_water() const noexcept;

  /// Implementation::trim.
  [[nodiscard]] int trim(std::uintptr_t keep_from) const noexcept;

 private:
  handler::SlotRecord* slot_ = nullptr;
};

/// What the stacks of an arena have in common.
struct Kind {
  const Implementation* implementation = nullptr;
  Layout layout{};
  GrowthPolicy policy{};  ///< in whole pages, and as the strategy takes it

  /// Of validated options, whose strategy is not `automatic`.
  [[nodiscard]] static Kind of(const StackOptions& options) noexcept;

  /// Some order; of equal ones neither is less.
  bool operator<(const Kind& other) const noexcept;
};

/// For memory that the fault handler shall know nothing of: what stands in for its range.
struct UnregisteredRange;

/// Used by one thread at a time, but for what faults do.
class Arena {
 public:
  /// Reserves room for at least that many slots and registers it. Throws std::system_error,
  /// std::bad_alloc.
  Arena(const Kind& kind, Account& account, std::size_t slots);
  ~Arena();  ///< Every slot is closed.
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  [[nodiscard]] const Kind& kind() const noexcept { return kind_; }
  [[nodiscard]] const Implementation& implementation() const noexcept {
    return *kind_.implementation;
  }
  [[nodiscard]] const Layout& layout() const noexcept { return kind_.layout; }
  [[nodiscard]] handler::Range& range() const noexcept { return *range_; }
  [[nodiscard]] Tenant& tenant(std::uint32_t index) noexcept { return tenants_[index]; }
  [[nodiscard]] Place place(std::uint32_t index) noexcept { return Place(&range_->slots[index]); }

  [[nodiscard]] Bounds bounds_of(std::uint32_t index) const noexcept;
  [[nodiscard]] std::uint32_t slot_count() const noexcept { return slot_count_; }
  /// Slots from this number on never had a stack.
  [[nodiscard]] std::uint32_t used_count() const noexcept { return fresh_; }
  [[nodiscard]] std::uint32_t open_count() const noexcept { return open_count_; }
  [[nodiscard]] bool has_closed() const noexcept { return !free_.empty(); }
  [[nodiscard]] bool has_room() const noexcept { return !free_.empty() || fresh_ < slot_count_; }

  /// Opens a stack in a free slot: one that had a stack before if there is one. Throws
  /// std::system_error; then nothing has changed.
  Place open(const StackOptions& options);

  /// Opens up to `count` stacks side by side in slots that had none before, and tells the first
  /// one's number in `first`. 0 if it cannot be done so, for whatever reason: open() will tell.
  std::uint32_t open_in_row(std::uint32_t count, const StackOptions& options, std::uint32_t& first);

  void close(std::uint32_t index) noexcept;

  /// What a stack has committed is charged to the account from open() to close(), and follows its
  /// limit: brought up to date after a trim.
  void settle(handler::SlotRecord& slot) noexcept;

  /// Of one that will have no stack any more, and whose open ones are all idle: ends the stacks of
  /// up to `most` slots, from the upper end down, and gives their memory and page tables back. The
  /// address space goes with the arena: as long as its range is registered, nobody else's stacks
  /// may lie there. True when no stack is left.
  [[nodiscard]] bool dismantle(std::uint32_t most) noexcept;

  /// The pool that it belongs to; null for one of single stacks. And of the pool's stacks those
  /// that are open and idle.
  PoolCore* pool = nullptr;
  IndexSet warm{0};
  IndexSet cold{0};  ///< nothing of them is in memory

 private:
  void take_from_heap();
  void reserve(std::size_t slots);
  void hold_slots_only() noexcept;
  void start_strategy();
  void make_tenants(std::uint32_t count);
  [[nodiscard]] std::string named(const std::string& what) const;
  [[noreturn]] void fail_for_stack(int error, const std::string& what, std::size_t bytes) const;
  void prepare(std::uint32_t index, const Bounds& bounds);
  void publish(std::uint32_t index, const Bounds& bounds, const StackOptions& options,
               std::uintptr_t limit) noexcept;
  [[nodiscard]] std::size_t bytes_from(const handler::SlotRecord& slot,
                                       std::uintptr_t limit) const noexcept;
  [[nodiscard]] bool charge_down_to(handler::SlotRecord& slot, std::uintptr_t limit) noexcept;
  void charge_new_stack(std::uint32_t index, const Bounds& bounds, std::uintptr_t limit);

  static handler::Step plan(const handler::Range& range, const handler::SlotRecord& slot,
                            std::uintptr_t address) noexcept;
  static int commit(const handler::Range& range, const handler::SlotRecord& slot,
                    handler::Step step) noexcept;
  static const handler::Operations operations;

  struct Free {
    void operator()(void* memory) const noexcept;
  };

  const Kind kind_;
  Account& account_;
  std::unique_ptr<UnregisteredRange> unregistered_;
  std::size_t size_ = 0;
  std::uintptr_t begin_ = 0;
  handler::Range* range_ = nullptr;
  std::uint32_t slot_count_ = 0;
  std::unique_ptr<Tenant[], Free>
      tenants_;  ///< memory for all slots, in which those that had a stack are constructed
  std::uint32_t fresh_ = 0;  ///< slots from here on never had a stack
  IndexSet free_{0};         ///< of those before, the ones without a stack
  std::uint32_t open_count_ = 0;
  std::uintptr_t held_ = 0;  ///< where what is mapped begins
  std::size_t left_ =
      0;  ///< bytes from there that are still to be released once every slot is closed
};

inline std::uint32_t Place::index() const noexcept {
  return static_cast<std::uint32_t>(slot_ - arena().range().slots);
}
inline Tenant& Place::tenant() const noexcept { return arena().tenant(index()); }
inline const Implementation& Place::implementation() const noexcept {
  return arena().implementation();
}
inline const GrowthPolicy& Place::policy() const noexcept { return arena().kind().policy; }

}  // namespace growstack
