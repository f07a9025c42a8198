#include "arenas/arena.hpp"

#include "errors.hpp"
#include "sanitizers.hpp"
#include "memory/vm.hpp"

#include <growstack/handler/report.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <new>
#include <system_error>
#include <tuple>
#include <utility>

namespace growstack {

/// A range of one slot that the fault handler cannot find: for memory that is none of its business.
struct UnregisteredRange {
  handler::SlotRecord slot;
  std::atomic<std::uint32_t> pins{0};
  handler::Range range;

  UnregisteredRange() {
    range.slots = &slot;
    range.pins = &pins;
    range.capacity = 1;
    range.slot_count.store(1, std::memory_order_relaxed);
  }
};

constexpr handler::Operations Arena::operations{
    .plan = &Arena::plan, .commit = &Arena::commit, .on_overflow = handler::report_overflow};

Arena::Arena(const Kind& kind, Account& account, std::size_t slots)
    : kind_(kind), account_(account) {
  if (implementation().from_heap()) {
    take_from_heap();
  } else {
    reserve(slots);
  }
}

Arena::~Arena() {
  if (unregistered_ != nullptr) {
    ::operator delete(reinterpret_cast<void*>(begin_), std::align_val_t(vm::page_size()));
  } else {
    handler::remove_range(*range_);
    implementation().forget(held_, left_);
    static_cast<void>(vm::release(held_, left_));
  }
}

void Arena::Free::operator()(void* memory) const noexcept {
  std::free(memory);
}  // trivially destructible, all of them

void Arena::make_tenants(std::uint32_t count) {
  static_assert(std::is_trivially_destructible_v<Tenant>);
  // Not touched until a slot is used: most of a large arena may never be.
  tenants_.reset(static_cast<Tenant*>(std::calloc(count, sizeof(Tenant))));
  if (tenants_ == nullptr) {
    throw std::bad_alloc();
  }
  free_ = IndexSet(count);
  slot_count_ = count;
}

void Arena::take_from_heap() {
  make_tenants(1);
  auto range = std::make_unique<UnregisteredRange>();
  range_ = &range->range;
  range_->owner = this;
  size_ = layout().slot_size;
  begin_ = reinterpret_cast<std::uintptr_t>(
      ::operator new(size_, std::align_val_t(vm::page_size()), std::nothrow));
  if (begin_ == 0) {
    fail_for_memory(ENOMEM, named("cannot allocate " + in_bytes(size_)), size_);
  }
  unregistered_ = std::move(range);
}

void Arena::reserve(std::size_t slots) {
  const Layout& layout = kind_.layout;
  size_ = vm::round_up(layout.first + slots * layout.slot_size, handler::range_alignment);
  const bool shares = implementation().keeps_reservation();
  make_tenants(shares ? static_cast<std::uint32_t>((size_ - layout.first) / layout.slot_size) : 1);
  if (const int error = vm::reserve(size_, handler::range_alignment, layout.pages(), begin_);
      error != 0) {
    fail_for_memory(error, named("cannot reserve " + in_bytes(size_) + " of address space"),
                    size_ + handler::range_alignment);
  }
  hold_slots_only();
  if (const int error = handler::add_range({.begin = begin_,
                                            .size = size_,
                                            .first_slot = layout.first,
                                            // A strategy with one slot per arena gets a range of
                                            // one slot too, at its upper end.
                                            .slot_size = shares ? layout.slot_size : size_,
                                            .operations = &operations,
                                            .committer = implementation().committer(),
                                            .owner = this,
                                            .kind = implementation().description().name.data()},
                                           range_);
      error != 0) {
    static_cast<void>(vm::release(held_, left_));
    fail_for_memory(error, named("cannot register " + in_bytes(size_) + " of address space"), 0);
  }
  start_strategy();
}

/// What is too much above and below the slots would be a mapping each.
void Arena::hold_slots_only() noexcept {
  held_ = begin_;
  left_ = size_;
  if (!implementation().keeps_reservation()) {
    return;
  }
  const std::size_t first = layout().first;
  const std::size_t end = first + slot_count_ * layout().slot_size;
  if (vm::release(begin_ + end, size_ - end) == 0) {
    left_ = end;
  }
  if (vm::release(begin_, first) == 0) {
    held_ += first;
    left_ -= first;
  }
}

/// Once more, now that there is a range: uninstall() may have come in between, and cannot from here
/// on.
void Arena::start_strategy() {
  try {
    implementation().start();
  } catch (...) {
    handler::remove_range(*range_);
    static_cast<void>(vm::release(held_, left_));
    throw;
  }
}

std::string Arena::named(const std::string& what) const {
  return std::string(implementation().description().name) + ": " + what;
}

/// An error of prepare() or open().
void Arena::fail_for_stack(int error, const std::string& what, std::size_t bytes) const {
  if (const std::string explanation = implementation().explain(error); !explanation.empty()) {
    fail(error, named(explanation));
  }
  fail_for_memory(error, named(what), bytes);
}

// ---- stacks -------------------------------------------------------------------------------------

Place Arena::open(const StackOptions& options) {
  const std::uint32_t index = free_.empty() ? fresh_ : free_.least();
  const Bounds bounds = bounds_of(index);
  prepare(index, bounds);
  std::uintptr_t limit = 0;
  if (const int error = implementation().open(bounds, layout(), options, limit); error != 0) {
    const std::size_t asked = implementation().asked_by_open(bounds, options);
    fail_for_stack(error, "cannot commit " + in_bytes(asked) + " of a stack", asked);
  }
  free_.erase(index);
  publish(index, bounds, options, limit);
  charge_new_stack(index, bounds, limit);
  if (!implementation().keeps_reservation()) {
    left_ = bounds.floor - held_;
  }
  return place(index);
}

std::uint32_t Arena::open_in_row(std::uint32_t count, const StackOptions& options,
                                 std::uint32_t& first) {
  count = std::min(count, slot_count_ - fresh_);
  if (count == 0 || account_.left() / count < options.policy.initial_commit ||
      implementation().open_in_row(bounds_of(fresh_), count, layout(), options) != 0) {
    return 0;
  }
  first = fresh_;
  for (; fresh_ < first + count; ++fresh_) {
    new (&tenants_[fresh_]) Tenant;
    const Bounds bounds = bounds_of(fresh_);
    const std::uintptr_t limit = bounds.base - options.policy.initial_commit;
    publish(fresh_, bounds, options, limit);
    static_cast<void>(charge_down_to(range_->slots[fresh_], limit));
  }
  return count;
}

void Arena::publish(std::uint32_t index, const Bounds& bounds, const StackOptions& options,
                    std::uintptr_t limit) noexcept {
  tenants_[index] = {};
  ++open_count_;
  handler::publish(*range_, index,
                   {.base = bounds.base,
                    .floor = bounds.floor,
                    .guard = bounds.guard,
                    .limit = limit,
                    .largest_step = options.policy.largest_step,
                    .growth = implementation().growth(),
                    .name = options.name});
}

void Arena::close(std::uint32_t index) noexcept {
  handler::SlotRecord& slot = range_->slots[index];
  const std::uintptr_t limit = implementation().limit(slot, layout());
  handler::retire(*range_, index);
  --open_count_;
  account_.credit(slot.charged_bytes.exchange(0, std::memory_order_relaxed));
  sanitizers::forget_stack_contents(limit, slot.base.load(std::memory_order_relaxed) - limit);
  if (implementation().close(slot, layout()) == 0) {
    free_.insert(index);
  }  // else memory of the old stack is left where a new one would have its guard: it goes with the
     // arena
}

bool Arena::dismantle(std::uint32_t most) noexcept {
  const std::uint32_t first = fresh_ - std::min(fresh_, most);
  for (std::uint32_t index = first; index < fresh_; ++index) {
    handler::SlotRecord& slot = range_->slots[index];
    if (slot.generation.load(std::memory_order_relaxed) % 2 == 1) {
      handler::retire(*range_, index);
      account_.credit(slot.charged_bytes.exchange(0, std::memory_order_relaxed));
      --open_count_;
    }
  }
  if (first > 0) {  // else all of it goes with the arena
    const std::uintptr_t begin = bounds_of(first).base - layout().slot_size;
    const std::size_t size = bounds_of(fresh_ - 1).base - begin;
    implementation().forget(begin, size);
    static_cast<void>(vm::decommit(begin, size, layout().pages()));
  }
  fresh_ = first;
  return fresh_ == 0;
}

/// A slot is prepared when it is used for the first time, which they are in their order.
void Arena::prepare(std::uint32_t index, const Bounds& bounds) {
  if (index < fresh_) {
    return;
  }
  if (const int error = implementation().prepare(bounds, layout()); error != 0) {
    fail_for_stack(
        error,
        "cannot prepare " + in_bytes(bounds.base - bounds.guard) + " of address space for a stack",
        bounds.base - bounds.guard);
  }
  new (&tenants_[index]) Tenant;
  free_.insert(index);
  fresh_ = index + 1;
}

Bounds Arena::bounds_of(std::uint32_t index) const noexcept {
  const std::uintptr_t base =
      implementation().keeps_reservation()
          ? begin_ + layout().first + (index + std::size_t{1}) * layout().slot_size
          : begin_ + size_;
  const std::uintptr_t floor = base - layout().reserve;
  return {.base = base, .floor = floor, .guard = floor - layout().guard};
}

// ---- accounts -----------------------------------------------------------------------------------

std::size_t Arena::bytes_from(const handler::SlotRecord& slot,
                              std::uintptr_t limit) const noexcept {
  return slot.base.load(std::memory_order_relaxed) -
         implementation().committed_from(slot, layout(), limit);
}

/// What a slot is charged is kept as one number, not as differences: two threads that grow the same
/// stack, or one that grows it while another trims it, may leave it wrong for a while, and never
/// for good.
bool Arena::charge_down_to(handler::SlotRecord& slot, std::uintptr_t limit) noexcept {
  const std::size_t wanted = bytes_from(slot, limit);
  std::size_t charged = slot.charged_bytes.load(std::memory_order_relaxed);
  while (charged < wanted) {
    if (!account_.charge(wanted - charged)) {
      return false;
    }
    if (slot.charged_bytes.compare_exchange_strong(charged, wanted, std::memory_order_relaxed)) {
      return true;
    }
    account_.credit(wanted - charged);
  }
  return true;
}

void Arena::settle(handler::SlotRecord& slot) noexcept {
  const std::size_t wanted = bytes_from(slot, slot.limit.load(std::memory_order_acquire));
  std::size_t charged = slot.charged_bytes.load(std::memory_order_relaxed);
  if (charged > wanted &&
      slot.charged_bytes.compare_exchange_strong(charged, wanted, std::memory_order_relaxed)) {
    account_.credit(charged - wanted);
  }
}

void Arena::charge_new_stack(std::uint32_t index, const Bounds& bounds, std::uintptr_t limit) {
  if (!charge_down_to(range_->slots[index], limit)) {
    const std::size_t asked = bytes_from(range_->slots[index], limit);
    close(index);
    fail(ENOMEM,
         named("a stack commits " + in_bytes(asked) + " of " +
               in_bytes(bounds.base - bounds.floor) + " at once, and the budget is used up: ") +
             account_.explanation());
  }
}

// ---- what faults ask for ------------------------------------------------------------------------

handler::Step Arena::plan(const handler::Range& range, const handler::SlotRecord& slot,
                          std::uintptr_t address) noexcept {
  const auto& arena = *static_cast<const Arena*>(range.owner);
  const std::uintptr_t limit = slot.limit.load(std::memory_order_acquire);
  if (address >= limit) {
    return {};  // another thread was first
  }
  const std::uintptr_t base = slot.base.load(std::memory_order_relaxed);
  const std::uintptr_t floor = slot.floor.load(std::memory_order_relaxed);
  const auto grown = [&](const GrowthPolicy& policy) {
    return grown_limit(policy, base, floor, limit, address, vm::page_size());
  };
  const std::uintptr_t wished = grown(arena.kind().policy);
  if (arena.account_.left() >= arena.bytes_from(slot, wished) - arena.bytes_from(slot, limit))
      [[likely]] {
    return {wished, limit};
  }
  // A budget is used to its last page.
  GrowthPolicy frugal = arena.kind().policy;
  frugal.factor = 1;
  frugal.least_step = vm::page_size();
  frugal.headroom = 0;
  return {grown(frugal), limit};
}

int Arena::commit(const handler::Range& range, const handler::SlotRecord& slot,
                  handler::Step step) noexcept {
  auto& arena = *static_cast<Arena*>(range.owner);
  handler::SlotRecord& charged = range.slots[&slot - range.slots];
  if (!arena.charge_down_to(charged, step.begin)) {
    return EDQUOT;
  }
  const int error = arena.implementation().commit(slot, arena.layout(), step);
  if (error != 0) {
    arena.settle(charged);
  }
  return error;
}

// ---- places -------------------------------------------------------------------------------------

bool Kind::operator<(const Kind& other) const noexcept {
  // What is left out of the layout follows from the rest.
  const auto all = [](const Kind& kind) {
    return std::tie(kind.implementation, kind.layout.reserve, kind.layout.guard,
                    kind.policy.initial_commit, kind.policy.factor, kind.policy.least_step,
                    kind.policy.largest_step, kind.policy.headroom, kind.policy.huge_from);
  };
  return all(*this) < all(other);
}

Kind Kind::of(const StackOptions& options) noexcept {
  Kind kind{.implementation = growstack::implementation(options.strategy),
            .policy = options.policy};
  kind.layout = kind.implementation->layout(options);
  kind.policy.huge_from = kind.layout.huge_from;
  kind.policy.factor = std::min(options.policy.factor, kind.implementation->largest_factor());
  return kind;
}

std::uintptr_t Place::limit() const noexcept {
  return implementation().limit(slot(), arena().layout());
}
std::uintptr_t Place::high_water() const noexcept {
  return implementation().high_water(slot(), arena().layout());
}

int Place::trim(std::uintptr_t keep_from) const noexcept {
  const int error = implementation().trim(slot(), arena().layout(), keep_from);
  arena().settle(slot());
  return error;
}

}  // namespace growstack
