// What the stacks of an arena have committed is charged to its account. Growth by fault is here
// too, because it charges before it commits.
#include "arenas/arena.hpp"

#include "errors.hpp"
#include "memory/vm.hpp"

#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/report.hpp>

#include <algorithm>
#include <cerrno>

namespace growstack {

std::size_t Arena::bytes_from(const Bounds& bounds, std::uintptr_t limit) const noexcept {
  return bounds.base - implementation().committed_from(bounds, layout(), limit);
}

/// Returns what is charged for a stack before it is opened.
std::size_t Arena::bytes_of_new_stack(const Bounds& bounds,
                                      const StackOptions& options) const noexcept {
  return bytes_from(bounds, implementation().first_limit(bounds, options));
}

/// What a slot is charged is stored as one number, not as differences. If two threads grow one
/// stack, or one thread grows it while another one trims it, the number may be wrong for a while,
/// but not for good.
bool Arena::charge_down_to(handler::SlotRecord& slot, std::uintptr_t limit) noexcept {
  const std::size_t wanted = bytes_from(growstack::bounds_of(slot), limit);
  std::size_t charged = slot.charged_bytes.load(std::memory_order_relaxed);
  while (charged < wanted) {
    const std::size_t more = wanted - charged;
    if (!account_.charge(more)) {
      return false;
    }
    if (slot.charged_bytes.compare_exchange_strong(charged, wanted, std::memory_order_relaxed)) {
      return true;
    }
    account_.credit(more);  // not what is missing now: another thread has changed `charged`
  }
  return true;
}

void Arena::settle(handler::SlotRecord& slot) noexcept {
  const std::size_t wanted =
      bytes_from(growstack::bounds_of(slot), slot.limit.load(std::memory_order_acquire));
  std::size_t charged = slot.charged_bytes.load(std::memory_order_relaxed);
  if (charged > wanted &&
      slot.charged_bytes.compare_exchange_strong(charged, wanted, std::memory_order_relaxed)) {
    account_.credit(charged - wanted);
  }
}

void Arena::fail_for_budget(const Bounds& bounds, std::size_t bytes) const {
  fail(ENOMEM, named("a stack commits " + in_bytes(bytes) + " of " +
                     in_bytes(bounds.base - bounds.floor) + " at once: ") +
                   explain_budget());
}

std::string Arena::explain_budget() const {
  return "the budget is used up: " + account_.explanation();
}

// ---- what faults ask for ------------------------------------------------------------------------

constinit const handler::Operations Arena::operations{
    .plan = &Arena::plan, .commit = &Arena::commit, .on_overflow = handler::report_overflow};

/// Returns the limit to which the first growth of a tenancy goes at least: that of a stack which is
/// kept as deep as others of its name. Growth that measures goes step by step.
std::uintptr_t Arena::kept_limit(const handler::SlotRecord& slot,
                                 std::uintptr_t limit) const noexcept {
  const std::uint32_t marks = slot.marks.load(std::memory_order_relaxed);
  if (kept == nullptr || (marks & (handler::grown_mark | sampled_mark)) != 0 ||
      !account_.has_plenty()) {
    return limit;
  }
  const Bounds bounds = growstack::bounds_of(slot);
  const std::size_t depth = std::min(bounds.base - bounds.floor, kept->of(marks & name_mask));
  const std::size_t step = std::min(limit - bounds.floor, kind().policy.largest_step);
  const std::uintptr_t lower = std::max(bounds.base - depth, limit - step);
  return lower < limit && limit - lower <= account_.left() ? lower : limit;
}

handler::Step Arena::plan(const handler::Range& range, const handler::SlotRecord& slot,
                          std::uintptr_t address) noexcept {
  const auto& arena = *static_cast<const Arena*>(range.owner);
  const std::uintptr_t limit = slot.limit.load(std::memory_order_acquire);
  if (address >= limit) {
    return {};  // another thread was first
  }
  const Bounds bounds = growstack::bounds_of(slot);
  const auto grown = [&](const GrowthPolicy& policy) {
    return grown_limit(policy, bounds.base, bounds.floor, limit, address, vm::page_size());
  };
  const std::uintptr_t wished = std::min(grown(arena.kind().policy), arena.kept_limit(slot, limit));
  if (arena.account_.left() >= arena.bytes_from(bounds, wished) - arena.bytes_from(bounds, limit))
      [[likely]] {
    return {wished, limit};
  }
  // Small steps, so that a budget can be used to its last page.
  GrowthPolicy frugal = arena.kind().policy;
  frugal.factor = 1;
  frugal.least_step = vm::page_size();
  frugal.headroom = 0;
  frugal.huge_from = 0;
  return {grown(frugal), limit};
}

int Arena::commit(const handler::Range& range, const handler::SlotRecord& slot,
                  handler::Step step) noexcept {
  auto& arena = *static_cast<Arena*>(range.owner);
  handler::SlotRecord& charged = range.slots[&slot - range.slots];
  if (!arena.charge_down_to(charged, step.begin)) {
    return handler::refused_by_budget(
        {.asked = arena.bytes_from(growstack::bounds_of(slot), step.begin) -
                  slot.charged_bytes.load(std::memory_order_relaxed),
         .left = arena.account_.left()});
  }
  const int error = arena.implementation().commit(slot, arena.layout(), step);
  if (error != 0) {
    arena.settle(charged);
  }
  return error;
}

}  // namespace growstack
