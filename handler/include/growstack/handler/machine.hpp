// What depends on the processor.
#pragma once

#include <growstack/export.hpp>

#include <cstddef>

namespace growstack::handler {

/// Returns the size of the ABI's red zone, in bytes: a function may keep data that far below its
/// stack pointer. Any thread, signal handlers included.
[[nodiscard]] GROWSTACK_EXPORT std::size_t red_zone_bytes() noexcept;

/// Returns how many bytes the kernel needs below the stack pointer to deliver a signal on the
/// running stack: the red zone and the largest frame that the registers of this processor can need
/// (AT_MINSIGSTKSZ, getauxval(3)). Any thread, signal handlers included.
[[nodiscard]] GROWSTACK_EXPORT std::size_t signal_frame_bytes() noexcept;

/// Returns how many bytes of address space one page of page tables describes: 2 MiB with pages of
/// 4 KiB. Any thread, signal handlers included.
[[nodiscard]] GROWSTACK_EXPORT std::size_t page_table_span() noexcept;

/// Calls function(argument) as the outermost function of a stack: profilers and others that follow
/// frame pointers stop there, because its caller's is 0. Without that they would read whatever is
/// in the register, on a stack that has nothing above. Debuggers, exceptions and backtrace(3)
/// use unwind tables, and see the callers as ever. Any thread.
GROWSTACK_EXPORT void call_outermost(void (*function)(void*), void* argument);

/// Calls function(argument) as call_outermost() does, but on the stack that starts at `base`, a
/// multiple of 16, and comes back to the running stack when the function returns. Costs little more
/// than a call: what is called returns, so no context has to be made and kept. Unwinders stop
/// there. What controls floating-point arithmetic is afterwards as it was before. Any thread.
GROWSTACK_EXPORT void call_on_stack(void* base, void (*function)(void*) noexcept,
                                    void* argument) noexcept;

}  // namespace growstack::handler
