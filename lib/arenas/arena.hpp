// Arenas: one reservation each, divided into slots of one size for one strategy. Every stack is a
// slot of an arena, a single one too: one mechanism and no special case.
#pragma once

#include "arenas/kept_depths.hpp"
#include "arenas/kind.hpp"
#include "arenas/open_slot.hpp"
#include "memory/account.hpp"
#include "memory/index_set.hpp"
#include "strategies/implementation.hpp"

#include <growstack/handler/ranges.hpp>
#include <growstack/options.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace growstack {

class PoolCore;

/// Stands in for the range of memory that the fault handler must not know.
struct UnregisteredRange;

/// One thread at a time uses an arena, except that any thread may have a fault in it.
class Arena {
 public:
  /// Reserves room for at least `slots` slots, and registers it. Throws std::system_error,
  /// std::bad_alloc.
  Arena(const Kind& kind, Account& account, std::size_t slots);
  /// Every slot must be closed.
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  [[nodiscard]] const Kind& kind() const noexcept { return kind_; }
  [[nodiscard]] const Implementation& implementation() const noexcept {
    return *kind_.implementation;
  }
  [[nodiscard]] const Layout& layout() const noexcept { return kind_.layout; }
  [[nodiscard]] handler::Range& range() const noexcept { return *range_; }
  [[nodiscard]] Tenant& tenant(std::uint32_t index) noexcept { return tenants_[index]; }
  [[nodiscard]] OpenSlot slot(std::uint32_t index) noexcept {
    return OpenSlot(&range_->slots[index]);
  }
  /// Returns the stack that the address lies in (from its guard up to its base), or null. A slot of
  /// a range that somebody else registered is none. The caller must know that the stack stays. Any
  /// thread, signal handlers included.
  [[nodiscard]] static OpenSlot slot_at(std::uintptr_t address) noexcept {
    return OpenSlot(handler::live_slot(address, operations));
  }

  [[nodiscard]] Bounds bounds_of(std::uint32_t index) const noexcept;
  [[nodiscard]] std::uint32_t slot_count() const noexcept { return slot_count_; }
  /// Returns the number of slots that ever had a stack. They are the lowest ones.
  [[nodiscard]] std::uint32_t used_count() const noexcept { return fresh_; }
  [[nodiscard]] std::uint32_t open_count() const noexcept { return open_count_; }
  [[nodiscard]] bool has_closed() const noexcept { return !free_.empty(); }
  [[nodiscard]] bool has_room() const noexcept { return !free_.empty() || fresh_ < slot_count_; }

  /// Returns whether the arena, which has no stacks, may be used again later: it keeps its address
  /// space, the end of no stack failed, its page tables and mappings are few, and no limit counts
  /// what it is.
  [[nodiscard]] bool is_worth_keeping() const noexcept;

  /// Opens a stack in a free slot, preferably in one that had a stack before. Throws
  /// std::system_error; nothing has changed then.
  OpenSlot open(const StackOptions& options);

  /// Opens up to `count` stacks in adjacent slots that had none before. Returns how many, and sets
  /// `first` to the index of the first one. Returns 0 if that is not possible for any reason;
  /// open() then reports the reason.
  std::uint32_t open_in_row(std::uint32_t count, const StackOptions& options, std::uint32_t& first);

  /// Ends a stack, and credits what it was charged.
  void close(std::uint32_t index) noexcept;

  /// Lowers what a slot is charged to what it has committed now. The account is charged for a stack
  /// from open() to close(); the charge follows the limit down at each growth, and this call makes
  /// it follow the limit up after a trim.
  void settle(handler::SlotRecord& slot) noexcept;

  /// Ends the idle stacks of up to `most` slots, from the upper end of the arena down, and gives
  /// their memory and page tables back. Returns true when no stack is left. The arena must have
  /// only idle stacks, and gets no new ones. Its address space stays until the arena is destroyed:
  /// as long as its range is registered, no other stacks may lie there.
  [[nodiscard]] bool dismantle(std::uint32_t most) noexcept;

  /// Returns, for a message, that the budget allows no more, which one, and what to do about it.
  /// Not from a signal handler.
  [[nodiscard]] std::string explain_budget() const;

  // For a pool, which owns these.
  PoolCore* pool = nullptr;          ///< null: an arena of single stacks
  const KeptDepths* kept = nullptr;  ///< how deep its stacks are kept; null: of single stacks
  IndexSet deep{0};  ///< its stacks that are open and idle, of a name that is kept apart
  IndexSet warm{0};  ///< its stacks that are open and idle, with memory
  IndexSet cold{0};  ///< its stacks that are open and idle, without memory

 private:
  void take_from_heap();
  void reserve(std::size_t slots);
  [[nodiscard]] std::size_t reserve_where_no_range_is();
  [[nodiscard]] int add_range() noexcept;
  void hold_slots_only(std::size_t excess) noexcept;
  void start();
  void make_tenants(std::uint32_t count);
  [[nodiscard]] bool has_few_used() const noexcept;
  [[nodiscard]] std::string named(const std::string& what) const;
  [[noreturn]] void fail_for_stack(int error, const std::string& what, std::size_t bytes) const;
  void prepare(std::uint32_t index, const Bounds& bounds);
  void publish(std::uint32_t index, const Bounds& bounds, const StackOptions& options) noexcept;

  // In arena_charges.cpp:
  [[nodiscard]] std::size_t bytes_from(const Bounds& bounds, std::uintptr_t limit) const noexcept;
  [[nodiscard]] std::size_t bytes_of_new_stack(const Bounds& bounds,
                                               const StackOptions& options) const noexcept;
  [[nodiscard]] std::uintptr_t kept_limit(const handler::SlotRecord& slot,
                                          std::uintptr_t limit) const noexcept;
  [[nodiscard]] bool charge_down_to(handler::SlotRecord& slot, std::uintptr_t limit) noexcept;
  [[noreturn]] void fail_for_budget(const Bounds& bounds, std::size_t bytes) const;
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
  std::unique_ptr<UnregisteredRange> unregistered_;  ///< null: the range is registered
  std::size_t size_ = 0;
  std::uintptr_t begin_ = 0;
  handler::Range* range_ = nullptr;
  std::uint32_t slot_count_ = 0;
  /// Memory for all slots. Only the tenants of slots that had a stack are constructed.
  std::unique_ptr<Tenant[], Free> tenants_;
  std::uint32_t fresh_ = 0;  ///< slots from this index on never had a stack
  IndexSet free_{0};         ///< slots below that without a stack
  std::uint32_t open_count_ = 0;
  // The address space that is still to be released once every slot is closed:
  std::uintptr_t held_ = 0;  ///< its lowest address
  std::size_t left_ = 0;     ///< its bytes
};

inline std::uint32_t OpenSlot::index() const noexcept {
  return static_cast<std::uint32_t>(record_ - arena().range().slots);
}
inline Tenant& OpenSlot::tenant() const noexcept { return arena().tenant(index()); }
inline const Implementation& OpenSlot::implementation() const noexcept {
  return arena().implementation();
}
inline const GrowthPolicy& OpenSlot::policy() const noexcept { return arena().kind().policy; }

}  // namespace growstack
