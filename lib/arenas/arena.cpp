#include "arenas/arena.hpp"

#include "arenas/validated_options.hpp"
#include "errors.hpp"
#include "memory/last_stacks.hpp"
#include "memory/overcommit.hpp"
#include "memory/vm.hpp"
#include "sanitizers.hpp"
#include "strategies/start_handler.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

namespace growstack {

/// A range of one slot that the fault handler cannot find, because the memory is malloc's.
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

namespace {

handler::Growth growth_by(GrowthEvent event) noexcept {
  switch (event) {
    case GrowthEvent::segmentation_fault:
      return handler::Growth::by_fault;
    case GrowthEvent::bus_error:
      return handler::Growth::by_bus_error;
    case GrowthEvent::monitor:
      return handler::Growth::by_monitor;
    case GrowthEvent::none:
      break;
  }
  return handler::Growth::by_kernel;
}

}  // namespace

Arena::Arena(const Kind& kind, Account& account, std::size_t slots)
    : kind_(kind), account_(account) {
  if (kind.description().own_address_space) {
    reserve(slots);
  } else {
    take_from_heap();
  }
}

Arena::~Arena() {
  if (unregistered_ != nullptr) {
    ::operator delete(reinterpret_cast<void*>(begin_), std::align_val_t(vm::page_size()));
  } else {
    handler::remove_range(*range_);
    implementation().forget(held_, left_);
    forget_stacks(begin_, size_);
    vm::release_or_uncharge(held_, left_);
  }
}

void Arena::Free::operator()(void* memory) const noexcept { std::free(memory); }

void Arena::make_tenants(std::uint32_t count) {
  static_assert(std::is_trivially_destructible_v<Tenant>, "Free destroys none of them");
  // calloc does not touch the memory, and most slots of a large arena may never be used.
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
  make_tenants(kind_.description().keeps_reservation
                   ? static_cast<std::uint32_t>((size_ - layout.first) / layout.slot_size)
                   : 1);
  hold_slots_only(reserve_where_no_range_is());
  start();
}

/// Reserves address space and registers it. Returns how many bytes are reserved above the arena.
///
/// The kernel may put a reservation into the hole below a stack of grows_down: nothing is mapped
/// there, but it belongs to the range of that stack. Then more is reserved, which the hole has no
/// room for.
std::size_t Arena::reserve_where_no_range_is() {
  constexpr std::size_t most_excess = std::size_t{64} << 40;  // no reserve is larger
  for (std::size_t excess = 0;;) {
    const std::size_t wanted = size_ + excess;
    if (const int error = vm::reserve(wanted, handler::range_alignment, layout().pages(), begin_);
        error != 0) {
      fail_for_memory(error, named("cannot reserve " + in_bytes(wanted) + " of address space"),
                      wanted + handler::range_alignment);
    }
    const int error = add_range();
    if (error == 0) {
      return excess;
    }
    vm::release_or_uncharge(begin_, wanted);
    if (error != EEXIST || excess >= most_excess) {
      fail_for_memory(error, named("cannot register " + in_bytes(size_) + " of address space"), 0);
    }
    excess = std::max(handler::range_alignment, 2 * excess);
  }
}

int Arena::add_range() noexcept {
  const StrategyDescription& strategy = kind_.description();
  return handler::add_range(
      {.begin = begin_,
       .size = size_,
       .first_slot = layout().first,
       // An arena of one slot has a range of one slot; the stack lies at its upper end.
       .slot_size = strategy.keeps_reservation ? layout().slot_size : size_,
       .operations = &operations,
       .committer =
           strategy.helper_commits ? handler::Committer::helper : handler::Committer::handler,
       .owner = this,
       .kind = strategy.name.data()},
      range_);
}

/// Releases the address space above and below the slots, because each would cost a mapping.
void Arena::hold_slots_only(std::size_t excess) noexcept {
  const bool has_many = kind_.description().keeps_reservation;
  const std::size_t first = has_many ? layout().first : 0;
  const std::size_t end = has_many ? first + slot_count_ * layout().slot_size : size_;
  held_ = begin_;
  left_ = size_ + excess;
  if (vm::release(begin_ + end, left_ - end) == 0) {
    left_ = end;
  }
  if (vm::release(begin_, first) == 0) {
    held_ += first;
    left_ -= first;
  }
}

/// Starts what the strategy needs a second time, now that there is a range. Between the first time
/// and the range, handler::uninstall() may have ended it. From here on it cannot, as long as the
/// arena exists.
void Arena::start() {
  try {
    start_handler(implementation());
  } catch (...) {
    handler::remove_range(*range_);
    vm::release_or_uncharge(held_, left_);
    throw;
  }
}

std::string Arena::named(const std::string& what) const {
  return std::string(kind_.description().name) + ": " + what;
}

/// Throws for an error of Implementation::prepare() or open().
void Arena::fail_for_stack(int error, const std::string& what, std::size_t bytes) const {
  if (const std::string explanation = implementation().explain(error); !explanation.empty()) {
    fail(error, named(refusal_of(error) + ": " + explanation));
  }
  fail_for_memory(error, named(what), bytes);
}

// ---- stacks -------------------------------------------------------------------------------------

OpenSlot Arena::open(const StackOptions& options) {
  const std::uint32_t index = free_.empty() ? fresh_ : free_.least();
  const Bounds bounds = bounds_of(index);
  const std::size_t bytes = bytes_of_new_stack(bounds, options);
  Charge charge(account_, bytes);
  if (!charge.is_held()) {
    fail_for_budget(bounds, bytes);
  }
  prepare(index, bounds);
  if (const int error = implementation().open(bounds, layout(), options); error != 0) {
    const std::size_t asked = implementation().asked_by_open(bounds, options);
    fail_for_stack(error, "cannot commit " + in_bytes(asked) + " of a stack", asked);
  }
  if (!kind_.description().keeps_reservation) {
    left_ = bounds.floor - held_;  // the rest is unmapped when the stack is closed
  }
  charge.keep();
  free_.erase(index);
  publish(index, bounds, options);
  return slot(index);
}

std::uint32_t Arena::open_in_row(std::uint32_t count, const StackOptions& options,
                                 std::uint32_t& first) {
  count = std::min(count, slot_count_ - fresh_);
  if (count == 0) {
    return 0;
  }
  const Bounds lowest = bounds_of(fresh_);
  Charge charge(account_, count * bytes_of_new_stack(lowest, options));
  if (!charge.is_held() || implementation().open_in_row(lowest, count, layout(), options) != 0) {
    return 0;
  }
  charge.keep();
  first = fresh_;
  for (; fresh_ < first + count; ++fresh_) {
    new (&tenants_[fresh_]) Tenant;
    publish(fresh_, bounds_of(fresh_), options);
  }
  return count;
}

/// Publishes a stack that is open and charged.
void Arena::publish(std::uint32_t index, const Bounds& bounds,
                    const StackOptions& options) noexcept {
  tenants_[index] = {};
  ++open_count_;
  range_->slots[index].charged_bytes.store(bytes_of_new_stack(bounds, options),
                                           std::memory_order_relaxed);
  handler::publish(*range_, index,
                   {.base = bounds.base,
                    .floor = bounds.floor,
                    .guard = bounds.guard,
                    .limit = implementation().first_limit(bounds, options),
                    .largest_step = options.policy.largest_step,
                    .growth = growth_by(kind_.description().event),
                    .name = options.name});
}

void Arena::close(std::uint32_t index) noexcept {
  handler::SlotRecord& slot = range_->slots[index];
  const std::uintptr_t limit = implementation().limit(slot, layout());
  handler::retire(*range_, index);
  if (!kind_.description().keeps_reservation) {
    forget_stacks(begin_, size_);  // its addresses go at once, and not with the arena
  }
  --open_count_;
  account_.credit(slot.charged_bytes.exchange(0, std::memory_order_relaxed));
  sanitizers::forget_stack_contents(limit, slot.base.load(std::memory_order_relaxed) - limit);
  const int error = has_few_used() ? implementation().close_for_the_next(slot, layout())
                                   : implementation().close(slot, layout());
  // After a failure, memory of the old stack is left where a new one would have its guard. Of a
  // stack that keeps no reservation, nothing is left: others may map memory there. The slot then
  // stays unused until the arena is destroyed.
  if (error == 0 && kind_.description().keeps_reservation) {
    free_.insert(index);
  }
}

bool Arena::has_few_used() const noexcept {
  constexpr std::uint32_t few = 16;
  return fresh_ <= few;
}

bool Arena::is_worth_keeping() const noexcept {
  const StrategyDescription& strategy = kind_.description();
  // A slot whose address space went with its stack is not free any more: see close().
  return strategy.own_address_space && has_few_used() && free_.size() == fresh_ &&
         !each_use_begins_with_one_page() &&
         // Slots of some strategies may be written to also between two stacks.
         (strategy.charge != DataCharge::at_once || !untouched_memory_counts());
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
  if (first > 0) {  // otherwise all of it is released with the arena
    const std::uintptr_t begin = bounds_of(first).base - layout().slot_size;
    const std::size_t size = bounds_of(fresh_ - 1).base - begin;
    implementation().forget(begin, size);
    static_cast<void>(vm::decommit(begin, size, layout().pages()));
  }
  fresh_ = first;
  return fresh_ == 0;
}

/// Prepares a slot when it is used for the first time. Slots are used for the first time in their
/// order.
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
      kind_.description().keeps_reservation
          ? begin_ + layout().first + (index + std::size_t{1}) * layout().slot_size
          : begin_ + size_;
  const std::uintptr_t floor = base - layout().reserve;
  return {.base = base, .floor = floor, .guard = floor - layout().guard};
}

}  // namespace growstack
