// The program's view of one thread: which kept signals the thread blocks, which were sent to it
// meanwhile, and which alternate stack it has.
//
// Signal handlers read and write this, so it lies in static thread-local storage, which is there
// without an allocation. Only the thread itself and the handlers that run in it touch it.
#pragma once

#include <csignal>
#include <cstddef>
#include <cstdint>

namespace growstack::keep {

/// Returns the kept signals that the program blocks in this thread, for code whose stack pointer is
/// this.
std::uint64_t blocked(std::uintptr_t stack_pointer) noexcept;

/// Sets what the program blocks. What was sent and is not blocked any more arrives before this
/// function returns.
void set_blocked(std::uint64_t signals) noexcept;

/// Has the kernel block the signal in this thread if the program blocks it, and hold what waits,
/// because it is no longer kept.
void give_back_blocked(int signal) noexcept;

/// Returns the signals that were sent and wait until the program unblocks them.
std::uint64_t held() noexcept;

/// Forgets that the signal waits in this thread, because the program ignores it from now on. One
/// that waits in another thread is ignored when it arrives, unless the program has a handler by
/// then.
void drop_held(int signal) noexcept;

/// sigaltstack(2) as the program calls it.
int change_alternate_stack(const stack_t* stack, stack_t* old) noexcept;

// For the table: see KeepHandler.
int unblock() noexcept;
bool is_blocked(int signal, std::uintptr_t stack_pointer) noexcept;
void hold(const siginfo_t* info) noexcept;
void begin_handler(std::uintptr_t stack_pointer, sigset_t* interrupted, sigset_t* mask) noexcept;
void end_handler(sigset_t* interrupted, const sigset_t* mask) noexcept;
int keep_alternate_stack(const stack_t* ours, std::size_t least, bool now) noexcept;
int give_back_alternate_stack(const stack_t* ours) noexcept;

}  // namespace growstack::keep
