// Stands in for memory and for the fault path where whole pools are run in every interleaving: a
// ledger with one line for each slot, which says whether a stack lives there and who uses it.
// Pools, caches, arenas and accounts are the real ones. What they do to address space, to slots and
// to the memory of stacks comes here, and is a fault of the model if somebody uses that stack.
#pragma once

#include "arenas/open_slot.hpp"

#include <growstack/stack.hpp>
#include <growstack/stack_pool.hpp>

#include <cstddef>
#include <cstdint>

namespace growstack::ledger {

/// What becomes of a stack that a pool does not need: it is closed, or it stays open without
/// memory. These two strategies do nothing but write into the ledger.
inline constexpr Strategy closes = Strategy::in_handler;
inline constexpr Strategy stays_open = Strategy::guard_markers;

/// Begins with an empty ledger, with room for any number of stacks.
void begin();

/// From now on, to open one more stack than that fails with ENOMEM.
void limit_stacks(std::size_t most);

/// Moves the clock that pools look at.
void let_time_pass(std::uint64_t nanoseconds);

/// Grows a stack that the caller uses as the fault path would, by one step. Returns 0 or the errno.
int grow(const Stack& stack, std::size_t depth);

/// Stacks that live now, and reservations of address space that exist now.
[[nodiscard]] std::size_t open_stacks();
[[nodiscard]] std::size_t reservations();
/// Returns whether a stack lies in address space that was reserved after so many reservations.
[[nodiscard]] bool is_from_after(const Stack& stack, std::size_t reservations_so_far);
[[nodiscard]] std::size_t reservations_so_far();
/// Bytes that the stacks which live now have committed.
[[nodiscard]] std::size_t committed();

/// The calling thread of the model uses a stack while this exists. It touches the memory of the
/// stack as code that runs there would.
class Tenancy {
 public:
  explicit Tenancy(Stack stack);
  ~Tenancy();
  Tenancy(Tenancy&& other) noexcept = default;
  Tenancy(const Tenancy&) = delete;
  Tenancy& operator=(const Tenancy&) = delete;
  Tenancy& operator=(Tenancy&&) = delete;

  [[nodiscard]] const Stack& stack() const noexcept { return stack_; }

 private:
  Stack stack_;
};

/// Returns whether an idle stack is deeper than stacks of its name are kept, and no mark says so.
[[nodiscard]] bool has_deep_stack_unmarked();

/// Gives the stacks back that threads used which a forked child does not have, as nothing in the
/// library does. Returns how many.
std::size_t give_back_lost();

}  // namespace growstack::ledger
