// Stack: how it begins, and what it tells. It ends in pool/warm_pair.cpp, because most stacks that
// end go back to a pool.
#include <growstack/stack.hpp>
#include <growstack/stack_pool.hpp>

#include "arenas/arena.hpp"
#include "arenas/single_stacks.hpp"
#include "arenas/validated_options.hpp"
#include "errors.hpp"
#include "memory/residency.hpp"
#include "pool/core.hpp"
#include "pool/kept_pools.hpp"
#include "stacks/stack_access.hpp"
#include "strategies/automatic.hpp"
#include "strategies/start_handler.hpp"

#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

namespace growstack {
namespace {

void* pointer(std::uintptr_t address) noexcept { return reinterpret_cast<void*>(address); }
std::uintptr_t address_of(const void* pointer) noexcept {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

/// Who makes stacks needs idle.cpp, which gives them back. A linker takes from an archive only
/// files that define what somebody names.
[[gnu::used]] void (*const gives_idle_back)() noexcept = trim;

}  // namespace

// Delegates, so that the destructor ends the stack if what follows throws.
Stack::Stack(const StackOptions& options) : Stack(static_cast<handler::SlotRecord*>(nullptr)) {
  std::string reason =
      open_with_best_strategy(validated(options), SIZE_MAX, [this](const StackOptions& asked) {
        const Implementation& strategy = *implementation(asked.strategy);
        strategy.check(asked);
        start_handler(strategy);
        *this = StackAccess::stack_in(
            or_instead_of_kept(asked.strategy, [&] { return open_single_stack(asked); }));
      });
  if (!reason.empty()) {
    fallback_reason_ = new std::string(std::move(reason));
  }
}

Stack detail::kept_stack(const StackOptions& options) {
  const OpenSlot slot = acquire_kept(options);
  return slot ? StackAccess::stack_in(slot) : Stack(options);
}

Stack& Stack::operator=(Stack&& other) noexcept {
  if (this != &other) {
    const Stack ended(std::move(*this));
    slot_ = std::exchange(other.slot_, nullptr);
    fallback_reason_ = std::exchange(other.fallback_reason_, nullptr);
  }
  return *this;
}

// ---- ownership ----------------------------------------------------------------------------------

void* Stack::release() {
  const OpenSlot slot = StackAccess::slot(*this);
  const StrategyDescription& strategy = slot.implementation().description();
  if (!strategy.own_address_space) {
    fail(EINVAL,
         std::string(strategy.name) + ": no address leads back to its stacks: keep the Stack");
  }
  delete std::exchange(fallback_reason_, nullptr);
  slot_ = nullptr;
  return pointer(slot.floor());
}

detail::ReleasedStack detail::release(Stack stack) {
  const ReleasedStack released{.base = stack.base(), .reserved = stack.reserved()};
  stack.release();
  return released;
}

Stack Stack::adopt(const void* address) {
  const OpenSlot slot = Arena::slot_at(address_of(address));
  if (!slot || address_of(address) < slot.floor()) {
    fail(EINVAL, "Stack::adopt: the address lies in no stack");
  }
  return StackAccess::stack_in(slot);
}

// ---- observers ----------------------------------------------------------------------------------

void* Stack::base() const noexcept { return pointer(StackAccess::slot(*this).base()); }
void* Stack::limit() const noexcept { return pointer(StackAccess::slot(*this).limit()); }
void* Stack::floor() const noexcept { return pointer(StackAccess::slot(*this).floor()); }

std::size_t Stack::reserved() const noexcept {
  const OpenSlot slot = StackAccess::slot(*this);
  return slot.base() - slot.floor();
}

std::size_t Stack::committed() const noexcept {
  const OpenSlot slot = StackAccess::slot(*this);
  return slot.base() - slot.limit();
}

std::size_t Stack::resident() const noexcept {
  const OpenSlot slot = StackAccess::slot(*this);
  // Memory may lie below a limit that is not exact. But in a hole that nobody holds, it is somebody
  // else's.
  const StrategyDescription& strategy = slot.implementation().description();
  const bool limit_tells = strategy.limit_is_exact || !strategy.keeps_reservation;
  const std::uintptr_t lowest = limit_tells ? slot.limit() : slot.floor();
  return growstack::resident(lowest, slot.base() - lowest);
}

std::size_t Stack::high_water_mark() const noexcept {
  const OpenSlot slot = StackAccess::slot(*this);
  return slot.base() - slot.high_water();
}

Strategy Stack::strategy() const noexcept {
  return StackAccess::slot(*this).implementation().description().strategy;
}

std::string_view Stack::fallback_reason() const noexcept {
  if (fallback_reason_ != nullptr) {
    return *fallback_reason_;
  }
  const PoolCore* const pool = StackAccess::slot(*this).arena().pool;
  return pool == nullptr ? std::string_view() : std::string_view(pool->fallback_reason());
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

}  // namespace growstack
