#include <growstack/stack.hpp>

#include "arena.hpp"
#include "errors.hpp"
#include "residency.hpp"
#include "stack_access.hpp"
#include "vm.hpp"

#include <growstack/handler/handler.hpp>

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <string>

namespace growstack {

struct Stack::State {
  Place place;
  std::size_t initial_commit;
  std::string fallback_reason{};
};

namespace {

/// A stack's address space must lie in the table, with an arena's alignment to spare.
constexpr std::size_t largest_reserve = std::size_t{64} << 40;  // 64 TiB

/// Calls made by trim_current() itself run below its frame; they must not lose their memory.
constexpr std::size_t frames_of_trim_itself = std::size_t{16} * 1024;

void* pointer(std::uintptr_t address) noexcept { return reinterpret_cast<void*>(address); }
std::uintptr_t address_of(const void* pointer) noexcept { return reinterpret_cast<std::uintptr_t>(pointer); }

/// Of the category of a default-constructed one, so that success compares equal to it.
std::error_code error_code(int error) noexcept { return {error, std::system_category()}; }

void require(bool fulfilled, const std::string& message) {
  if (!fulfilled) {
    fail(EINVAL, message);
  }
}

/// The options in whole pages. Throws EINVAL for what is out of range.
StackOptions validated(StackOptions options) {
  require(options.strategy == Strategy::automatic || implementation(options.strategy) != nullptr,
          "StackOptions::strategy is none of the enumeration");
  require(
      options.reserve > 0 && options.reserve <= largest_reserve,
      "StackOptions::reserve must be from 1 byte to " + in_bytes(largest_reserve) + ", not " + in_bytes(options.reserve));
  require(options.guard > 0 && options.guard <= largest_reserve,
          "StackOptions::guard must be from 1 byte to " + in_bytes(largest_reserve) + ", not " + in_bytes(options.guard) +
              ": a stack without a guard corrupts memory");
  GrowthPolicy& policy = options.policy;
  require(policy.factor >= 1.0 && policy.factor <= 16.0,
          "GrowthPolicy::factor must be from 1 to 16, not " + std::to_string(policy.factor));
  require(policy.least_step > 0 && policy.least_step <= policy.largest_step && policy.largest_step <= largest_reserve,
          "GrowthPolicy::least_step must be at least 1 byte and at most largest_step, which is at most " +
              in_bytes(largest_reserve));
  require(policy.initial_commit > 0 && policy.initial_commit <= largest_reserve,
          "GrowthPolicy::initial_commit must be from 1 byte to " + in_bytes(largest_reserve) + ", not " +
              in_bytes(policy.initial_commit));
  require(policy.headroom <= largest_reserve,
          "GrowthPolicy::headroom must be at most " + in_bytes(largest_reserve) + ", not " + in_bytes(policy.headroom));
  options.reserve = vm::page_up(options.reserve);
  options.guard = vm::page_up(options.guard);
  policy.least_step = vm::page_up(policy.least_step);
  policy.largest_step = vm::page_up(policy.largest_step);
  require(policy.huge_from <= vm::huge_page, "GrowthPolicy::huge_from must be at most " + in_bytes(vm::huge_page) +
                                                 " (0: never), not " + in_bytes(policy.huge_from));
  policy.huge_from = vm::page_up(policy.huge_from);
  policy.initial_commit = std::min(vm::page_up(policy.initial_commit), options.reserve);
  return options;
}

/// More than the handler's threads and records map at once.
constexpr std::size_t handler_needs = std::size_t{24} * 1024 * 1024;

void start_handler(const Implementation& implementation) {
  if (const int error = handler::install(); error != 0) {
    fail_for_thread(error, "cannot install the SIGSEGV handler", handler_needs);
  }
  if (implementation.committer() == handler::Committer::helper) {
    if (const int error = handler::start_helper(); error != 0) {
      fail_for_thread(error, "cannot start the helper thread", handler_needs);
    }
  }
  implementation.start();
  if (const int error = handler::attach_thread(); error != 0) {
    fail_for_memory(error, "cannot set up an alternate signal stack", handler::alternate_stack_size());
  }
}

/// Keeps what lies above `stack_pointer - margin`; margin is at least the red zone, in any sensible policy far more.
int trim_below(const Place& place, std::uintptr_t stack_pointer, std::size_t margin) noexcept {
  const std::uintptr_t floor = place.slot().floor.load(std::memory_order_relaxed);
  constexpr std::size_t red_zone = 128;
  const std::size_t kept_below = std::max(margin, red_zone);
  if (stack_pointer - floor <= kept_below) {
    return 0;
  }
  return place.trim(vm::page_down(stack_pointer - kept_below));
}

long page_faults_of_this_thread() noexcept {
  rusage used{};
  return getrusage(RUSAGE_THREAD, &used) == 0 ? used.ru_minflt + used.ru_majflt : -1;
}

TrimWhileRunning trim_now(const Place& place, std::uintptr_t keep_from) noexcept {
  return {.thread = pthread_self(),
          .page_faults = page_faults_of_this_thread(),
          .limit = place.slot().limit.load(std::memory_order_acquire),
          .kept_from = keep_from};
}

/// Asking the kernel what there is takes many times as long as asking whether there was a page fault at all.
int trim_if_page_faults_tell(const Place& place, std::uintptr_t keep_from) noexcept {
  TrimWhileRunning& last = place.tenant().trim_while_running;
  if (last.leaves_nothing_to_do_for(trim_now(place, keep_from))) {
    return 0;
  }
  const int error = place.trim(keep_from);
  last = error == 0 ? trim_now(place, keep_from) : TrimWhileRunning{};
  return error;
}

}  // namespace

void Stack::Close::operator()(State* state) const noexcept {
  close_slot(state->place);
  delete state;
}

Stack::Stack(const StackOptions& options) {
  StackOptions asked = validated(options);
  if (asked.strategy != Strategy::automatic) {
    open(asked);
    return;
  }
  std::string reasons;
  for (const Strategy candidate : {Strategy::guard_markers, Strategy::userfault_signal}) {
    asked.strategy = candidate;
    try {
      open(asked);
      state_->fallback_reason = std::move(reasons);
      return;
    } catch (const std::system_error& error) {
      reasons += (reasons.empty() ? "" : "; ") + reason_of(error);
    }
  }
  asked.strategy = Strategy::pipe_helper;
  open(asked);
  state_->fallback_reason = std::move(reasons);
}

void Stack::open(const StackOptions& options) {
  const Implementation& strategy = *implementation(options.strategy);
  strategy.check(options);
  start_handler(strategy);  // first, for the hole of a grows_down stack attracts what is mapped after it
  auto state = std::make_unique<State>();
  state->place = open_slot(options);
  state->initial_commit = options.policy.initial_commit;
  state_.reset(state.release());
  start_handler(strategy);  // if it was uninstalled meanwhile; now that there is a range it cannot be any more
}

void* Stack::base() const noexcept { return pointer(state_->place.slot().base.load(std::memory_order_relaxed)); }
void* Stack::floor() const noexcept { return pointer(state_->place.slot().floor.load(std::memory_order_relaxed)); }
void* Stack::limit() const noexcept { return pointer(state_->place.implementation().limit(state_->place.slot())); }

std::size_t Stack::reserved() const noexcept { return address_of(base()) - address_of(floor()); }
std::size_t Stack::committed() const noexcept { return address_of(base()) - address_of(limit()); }

std::size_t Stack::resident() const noexcept {
  const std::uintptr_t lowest = address_of(limit());
  return growstack::resident(lowest, address_of(base()) - lowest);
}

std::size_t Stack::high_water_mark() const noexcept {
  return address_of(base()) - state_->place.implementation().high_water(state_->place.slot());
}

Strategy Stack::strategy() const noexcept { return state_->place.implementation().description().strategy; }
std::string_view Stack::fallback_reason() const noexcept { return state_->fallback_reason; }
std::string_view Stack::name() const noexcept { return state_->place.slot().name; }

StackCounters Stack::counters() const noexcept {
  const handler::SlotRecord& slot = state_->place.slot();
  return {.growth_faults = slot.growth_faults.load(std::memory_order_relaxed),
          .remote_growth_faults = slot.remote_growth_faults.load(std::memory_order_relaxed),
          .unseen_growth = slot.unseen_growth.load(std::memory_order_relaxed),
          .reserved = reserved(),
          .committed = committed(),
          .high_water = high_water_mark()};
}

std::error_code Stack::trim() noexcept {
  if (state_->place.tenant().running.load(std::memory_order_acquire)) {
    return error_code(EBUSY);
  }
  const std::uintptr_t top = address_of(base());
  const std::uintptr_t keep_from = top - state_->initial_commit;
  if (const int error = state_->place.trim(keep_from); error != 0) {
    return error_code(error);
  }
  const std::uintptr_t lowest = std::max(keep_from, address_of(limit()));
  return error_code(state_->place.implementation().discard(lowest, top - lowest));
}

std::error_code Stack::trim(const void* stack_pointer) noexcept {
  const std::uintptr_t at = address_of(stack_pointer);
  if (at < address_of(floor()) || at > address_of(base())) {
    return error_code(EINVAL);
  }
  return error_code(trim_below(state_->place, at, state_->place.tenant().policy.headroom));
}

std::error_code Stack::trim_current() noexcept {
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  const handler::PinnedSlot pinned(here);
  if (!pinned) {
    return error_code(EINVAL);
  }
  const Place place = place_of(pinned);
  const handler::SlotRecord& slot = pinned.slot();
  const GrowthPolicy& policy = place.tenant().policy;
  const std::uintptr_t keep_from =
      kept_limit(policy, slot.base.load(std::memory_order_relaxed), slot.floor.load(std::memory_order_relaxed), here,
                 std::max(policy.headroom, frames_of_trim_itself), vm::page_size());
  return error_code(place.implementation().may_grow_unseen() ? trim_if_page_faults_tell(place, keep_from)
                                                             : place.trim(keep_from));
}

Place StackAccess::place(const Stack& stack) noexcept { return stack.state_->place; }

bool stack_bounds(const void* address, StackBounds& bounds) noexcept {
  const handler::PinnedSlot pinned(address_of(address));
  if (!pinned) {
    return false;
  }
  const handler::SlotRecord& slot = pinned.slot();
  bounds = {.base = pointer(slot.base.load(std::memory_order_relaxed)),
            .limit = pointer(slot.limit.load(std::memory_order_acquire)),
            .floor = pointer(slot.floor.load(std::memory_order_relaxed)),
            .guard = pointer(slot.guard.load(std::memory_order_relaxed))};
  return true;
}

bool current_stack_bounds(StackBounds& bounds) noexcept { return stack_bounds(__builtin_frame_address(0), bounds); }

ProcessCounters process_counters() {
  const ArenaTotals totals = arena_totals();
  return {.stacks = totals.stacks,
          .arenas = totals.arenas,
          .reserved = totals.reserved,
          .committed = totals.committed,
          .growth_faults = handler::counters().growth};
}

}  // namespace growstack
