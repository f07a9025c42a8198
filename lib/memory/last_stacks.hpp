// Which stack each thread was seen on last, and the stacks that others have told.
//
// A thread remembers where the stack lies that it runs on (detail::last_stack), so that a question
// about it costs two loads. Fibers leave a stack without telling anyone. So what is remembered may
// be about a stack that does not run, which the stack pointer shows. It must never be about one
// that has ended, because another stack may begin in the middle of its addresses. Hence whoever
// ends a stack's address space calls forget_stacks().
//
// A thread remembers a stack while it runs there, so this happens before the stack ends. In
// contrast, a stack may be told while another thread is looking: see remember_stack().
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace growstack {

/// The addresses [low, high) of a stack, or of the part of it that one may count on.
struct StackExtent {
  std::uintptr_t low = 0;
  std::uintptr_t high = 0;

  [[nodiscard]] bool contains(std::uintptr_t address) const noexcept {
    return low <= address && address < high;
  }
};

/// Returns the told stack that an address lies in.
[[nodiscard]] std::optional<StackExtent> told_stack_at(std::uintptr_t address) noexcept;

/// Returns the part of a stack around an address in which no told stack lies.
[[nodiscard]] StackExtent without_told_stacks(StackExtent stack, std::uintptr_t address) noexcept;

/// Returns how often a stack was told so far.
[[nodiscard]] std::uint64_t tellings() noexcept;

/// Remembers for this thread that it runs on a stack, which it looked up when tellings() returned
/// `looked_up_at`. Returns false if another stack was told since then: look it up again.
[[nodiscard]] bool remember_stack(StackExtent stack, std::uint64_t looked_up_at) noexcept;

/// Makes all threads forget stacks that have one of the addresses [begin, begin + size). Any
/// thread, whatever locks it holds; not from a signal handler.
void forget_stacks(std::uintptr_t begin, std::size_t size) noexcept;

}  // namespace growstack
