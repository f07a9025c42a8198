// Whose stack the calling code runs on.
#include <growstack/current_stack.hpp>

#include "arenas/arena.hpp"
#include "memory/last_stacks.hpp"
#include "stacks/own_stack.hpp"

namespace growstack {
namespace {

StackBounds bounds_of(StackExtent stack, std::uintptr_t guard) noexcept {
  const auto pointer = [](std::uintptr_t address) { return reinterpret_cast<void*>(address); };
  return {.base = pointer(stack.high),
          .limit = pointer(stack.low),
          .floor = pointer(stack.low),
          .guard = pointer(guard)};
}

StackExtent extent_of(const StackBounds& bounds) noexcept {
  return {.low = reinterpret_cast<std::uintptr_t>(bounds.floor),
          .high = reinterpret_cast<std::uintptr_t>(bounds.base)};
}

/// A stack that was told may lie within one of ours, and one of ours may be a thread's own.
CurrentStack find(std::uintptr_t stack_pointer) noexcept {
  if (const auto told = told_stack_at(stack_pointer)) {
    return {.kind = StackKind::known, .bounds = bounds_of(*told, told->low)};
  }
  if (Arena::slot_at(stack_pointer)) {
    const auto bounds = stack_bounds(reinterpret_cast<const void*>(stack_pointer));
    return {.kind = StackKind::growstack, .bounds = bounds.value_or(StackBounds{})};
  }
  if (const OwnStack own = own_stack(); own.extent.contains(stack_pointer)) {
    return {.kind = own.is_main ? StackKind::main : StackKind::thread,
            .bounds = bounds_of(own.extent, own.guard)};
  }
  return {};
}

/// Returns whether code may run on the main thread's stack. When the system was asked, the limit
/// may have been less than what is in use. No other stack lies so close below.
bool may_be_main(StackKind kind, std::uintptr_t stack_pointer) noexcept {
  constexpr std::size_t close = std::size_t{64} << 20;
  return kind == StackKind::main ||
         (kind == StackKind::unknown && own_stack().extent.high - stack_pointer < close);
}

/// Finds a stack, remembers it for this thread, and returns how much is left of it.
std::size_t look_up(std::uintptr_t stack_pointer, StackKind& kind) noexcept {
  for (std::uint64_t now = tellings();; now = tellings()) {
    const CurrentStack found = find(stack_pointer);
    kind = found.kind;
    StackExtent stack = extent_of(found.bounds);
    if (kind != StackKind::known) {
      stack = without_told_stacks(stack, stack_pointer);
    }
    if (!stack.contains(stack_pointer)) {
      return 0;
    }
    if (remember_stack(stack, now)) {
      return stack_pointer - stack.low;
    }
  }
}

}  // namespace

CurrentStack current_stack() noexcept {
  const std::uintptr_t here = handler::stack_pointer();
  const CurrentStack found = find(here);
  return may_be_main(found.kind, here) && renew_own_stack() ? find(here) : found;
}

std::size_t detail::look_up_room(std::uintptr_t stack_pointer, std::size_t wanted) noexcept {
  StackKind kind{};
  const std::size_t room = look_up(stack_pointer, kind);
  const bool may_be_more = room < wanted && may_be_main(kind, stack_pointer) && renew_own_stack();
  return may_be_more ? look_up(stack_pointer, kind) : room;
}

}  // namespace growstack
