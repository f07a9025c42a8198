#include <growstack/stack.hpp>

#include "arenas/arena.hpp"
#include "errors.hpp"
#include "stacks/opening.hpp"
#include "pool/core.hpp"
#include "pool/registry.hpp"
#include "memory/residency.hpp"
#include "stacks/stack_access.hpp"
#include "memory/vm.hpp"

#include <growstack/handler/handler.hpp>
#include <growstack/handler/machine.hpp>

#include <boost/container_hash/hash.hpp>

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>

namespace growstack {

namespace {

/// Calls made by trim_current() itself run below its frame; they must not lose their memory.
constexpr std::size_t frames_of_trim_itself = std::size_t{16} * 1024;

void* pointer(std::uintptr_t address) noexcept { return reinterpret_cast<void*>(address); }
std::uintptr_t address_of(const void* pointer) noexcept {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

/// The next tenant of a pool's stack shall find the warm size committed.
std::uintptr_t least_kept_from(const Place& place) noexcept {
  return place.arena().pool == nullptr ? place.base()
                                       : place.base() - place.policy().initial_commit;
}

/// Keeps `margin` committed below the stack pointer, but of the memory there only what is in use.
int trim_below(Place place, std::uintptr_t stack_pointer, std::size_t margin) noexcept {
  const std::size_t below = stack_pointer - place.floor();
  const std::uintptr_t keep_from = std::min(
      vm::page_down(stack_pointer - std::min(below, std::max(margin, handler::red_zone_bytes()))),
      least_kept_from(place));
  if (const int error = place.trim(keep_from); error != 0) {
    return error;
  }
  const std::uintptr_t in_use =
      vm::page_down(stack_pointer - std::min(below, handler::red_zone_bytes()));
  const std::uintptr_t lowest = std::max(keep_from, place.limit());
  return lowest < in_use ? place.implementation().discard(lowest, in_use - lowest) : 0;
}

long page_faults_of_this_thread() noexcept {
  rusage used{};
  return getrusage(RUSAGE_THREAD, &used) == 0 ? used.ru_minflt + used.ru_majflt : -1;
}

TrimWhileRunning trim_now(Place place, std::uintptr_t keep_from) noexcept {
  const long page_faults = page_faults_of_this_thread();
  if (page_faults < 0) {
    return {.circumstances = 0, .kept_from = keep_from};
  }
  std::size_t circumstances = 1;
  boost::hash_combine(circumstances, pthread_self());
  boost::hash_combine(circumstances, page_faults);
  boost::hash_combine(circumstances, place.slot().limit.load(std::memory_order_acquire));
  return {.circumstances = circumstances, .kept_from = keep_from};
}

/// Asking the kernel what there is takes many times as long as asking whether there was a page
/// fault at all.
int trim_if_page_faults_tell(Place place, std::uintptr_t keep_from) noexcept {
  TrimWhileRunning& last = place.tenant().trim_while_running;
  if (last.leaves_nothing_to_do_for(trim_now(place, keep_from))) {
    return 0;
  }
  const int error = place.trim(keep_from);
  last = error == 0 ? trim_now(place, keep_from) : TrimWhileRunning{};
  return error;
}

}  // namespace

Stack::Stack(const StackOptions& options) {
  auto reason = std::make_unique<std::string>();  // first: once there is a stack, nothing may throw
  *reason = open_with_best_strategy(validated(options), [this](const StackOptions& asked) {
    const Implementation& strategy = *implementation(asked.strategy);
    strategy.check(asked);
    start_handler(
        strategy);  // first, for the hole of a grows_down stack attracts what is mapped after it
    *this = StackAccess::stack_at(open_slot(asked));
    start_handler(strategy);  // if it was uninstalled meanwhile; now that there is a range it
                              // cannot be any more
  });
  if (!reason->empty()) {
    fallback_reason_ = reason.release();
  }
}

Stack& Stack::operator=(Stack&& other) noexcept {
  if (this != &other) {
    if (slot_ != nullptr) {
      give_back(slot_, fallback_reason_);
    }
    slot_ = std::exchange(other.slot_, nullptr);
    fallback_reason_ = std::exchange(other.fallback_reason_, nullptr);
  }
  return *this;
}

void* Stack::release() {
  const Place place = StackAccess::place(*this);
  if (place.implementation().from_heap()) {
    fail(EINVAL, "heap: no address leads back to its stacks: keep the Stack");
  }
  delete std::exchange(fallback_reason_, nullptr);
  slot_ = nullptr;
  return pointer(place.floor());
}

Stack Stack::adopt(const void* address) {
  handler::SlotRecord* const slot = handler::live_slot(address_of(address));
  if (slot == nullptr || address_of(address) < slot->floor.load(std::memory_order_relaxed)) {
    fail(EINVAL, "Stack::adopt: the address lies in no stack");
  }
  return Stack(slot);
}

void* Stack::limit() const noexcept { return pointer(StackAccess::place(*this).limit()); }

std::size_t Stack::committed() const noexcept { return address_of(base()) - address_of(limit()); }

std::size_t Stack::resident() const noexcept {
  const std::uintptr_t lowest = address_of(limit());
  return growstack::resident(lowest, address_of(base()) - lowest);
}

std::size_t Stack::high_water_mark() const noexcept {
  return address_of(base()) - StackAccess::place(*this).high_water();
}

Strategy Stack::strategy() const noexcept {
  return StackAccess::place(*this).implementation().description().strategy;
}
std::string_view Stack::fallback_reason() const noexcept {
  const PoolCore* const pool = StackAccess::place(*this).arena().pool;
  return fallback_reason_ != nullptr ? std::string_view(*fallback_reason_)
         : pool != nullptr           ? std::string_view(pool->fallback_reason())
                                     : std::string_view();
}
std::string_view Stack::name() const noexcept { return slot_->name; }

StackCounters Stack::counters() const noexcept {
  const handler::SlotRecord& slot = *slot_;
  return {.growth_faults = slot.growth_faults.load(std::memory_order_relaxed),
          .remote_growth_faults = slot.remote_growth_faults.load(std::memory_order_relaxed),
          .unseen_growth = slot.unseen_growth.load(std::memory_order_relaxed),
          .reserved = reserved(),
          .committed = committed(),
          .high_water = high_water_mark()};
}

std::error_code Stack::trim() noexcept {
  const Place place = StackAccess::place(*this);
  if ((place.slot().marks.load(std::memory_order_acquire) & running_mark) != 0) {
    return error_code(EBUSY);
  }
  const std::uintptr_t keep_from = place.base() - place.policy().initial_commit;
  if (const int error = place.trim(keep_from); error != 0) {
    return error_code(error);
  }
  const std::uintptr_t lowest = std::max(keep_from, place.limit());
  return error_code(place.implementation().discard(lowest, place.base() - lowest));
}

std::error_code Stack::trim_below(const void* stack_pointer) noexcept {
  const Place place = StackAccess::place(*this);
  const std::uintptr_t at = address_of(stack_pointer);
  if (at < place.floor() || at > place.base()) {
    return error_code(EINVAL);
  }
  return error_code(growstack::trim_below(place, at, place.policy().headroom));
}

std::error_code Stack::trim_current() noexcept {
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  const handler::PinnedSlot pinned(here);
  if (!pinned) {
    return error_code(EINVAL);
  }
  const Place place(&pinned.slot());
  const handler::SlotRecord& slot = pinned.slot();
  const GrowthPolicy& policy = place.policy();
  const std::uintptr_t keep_from = kept_limit(
      policy, slot.base.load(std::memory_order_relaxed), slot.floor.load(std::memory_order_relaxed),
      here, std::max(policy.headroom, frames_of_trim_itself), vm::page_size());
  return error_code(place.implementation().may_grow_unseen()
                        ? trim_if_page_faults_tell(place, keep_from)
                        : place.trim(keep_from));
}

std::optional<StackBounds> stack_bounds(const void* address) noexcept {
  const handler::PinnedSlot pinned(address_of(address));
  if (!pinned) {
    return std::nullopt;
  }
  const handler::SlotRecord& slot = pinned.slot();
  return StackBounds{.base = pointer(slot.base.load(std::memory_order_relaxed)),
                     .limit = pointer(slot.limit.load(std::memory_order_acquire)),
                     .floor = pointer(slot.floor.load(std::memory_order_relaxed)),
                     .guard = pointer(slot.guard.load(std::memory_order_relaxed))};
}

std::optional<StackBounds> current_stack_bounds() noexcept {
  return stack_bounds(__builtin_frame_address(0));
}

ProcessCounters process_counters() {
  const ArenaTotals totals = arena_totals();
  return {.stacks = totals.stacks,
          .arenas = totals.arenas,
          .reserved = totals.reserved,
          .committed = totals.committed,
          .growth_faults = handler::counters().growth};
}

}  // namespace growstack
