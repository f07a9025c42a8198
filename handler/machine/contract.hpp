// What a processor must tell: the contract of a file in this folder.
//
// To add a processor, write one file with a struct ThisMachine that meets the concept `Machine`,
// and include it in machine.hpp. The comments name what differs between processors: x86-64 (see
// x86_64.hpp), and aarch64, which has no file yet. The file also defines the assembler code of two
// functions, each with its unwind table:
// - GROWSTACK_CALL_OUTERMOST calls its first argument with the second one while the frame pointer
//   is 0 (x86-64: rbp; aarch64: x29).
// - GROWSTACK_CALL_ON_STACK does the same with its second and third argument, with the stack
//   pointer just below its first one, so that it lies in the stack from the first push on. It keeps
//   what controls floating-point arithmetic (x86-64: MXCSR and the x87 control word; aarch64:
//   FPCR).
#pragma once

#include <growstack/handler/classify.hpp>

#include <sys/ucontext.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace growstack::handler {

/// True for every value that the compiler knows. Any other value makes a requirement fail.
template <auto Value>
inline constexpr bool is_constant = true;

// clang-format 14 breaks requirements in the wrong place.
// clang-format off
/// The facts about a processor that the fault path needs. All functions are pure, read only their
/// arguments and run in the signal handler.
template <class T>
concept Machine = requires(const ucontext_t& context, const Fault& fault) {
  /// Bytes below the stack pointer that a function may use without moving it. x86-64: 128;
  /// aarch64: 0.
  requires is_constant<std::size_t{T::red_zone_bytes}>;

  /// Addresses of user space are below 2 to the power of this. x86-64: 47; aarch64: 48.
  requires is_constant<unsigned{T::user_address_bits}>;

  /// Bytes of a signal's frame, if the kernel does not tell them by AT_MINSIGSTKSZ (getauxval(3)).
  /// x86-64: 2,048, the constant of kernels before 5.14; aarch64: 4,720.
  requires is_constant<std::size_t{T::untold_frame_bytes}>;

  /// Bytes of one entry of a page table. Both: 8.
  requires is_constant<std::size_t{T::page_table_entry_bytes}>;

  // Registers of the interrupted code.
  { T::stack_pointer(context) } noexcept -> std::same_as<std::uintptr_t>;
  { T::program_counter(context) } noexcept -> std::same_as<std::uintptr_t>;

  /// What the faulting instruction did, as far as the processor tells. x86-64: the error code in
  /// the registers; aarch64: the ESR record of the signal's frame (esr_context).
  { T::access(context) } noexcept -> std::same_as<Access>;

  /// Whether the page was there and forbade the access. From the same source as `access`.
  { T::page_present(context) } noexcept -> std::same_as<bool>;

  /// Whether the signal may mean that the kernel found no room for the frame of another signal.
  /// x86-64: a SIGSEGV of the kernel's own without an address, which a bad address raises as well.
  { T::may_be_lost_signal_frame(fault) } noexcept -> std::same_as<bool>;

  /// Whether such a signal may instead mean that the instruction used an address that no page can
  /// have. x86-64: yes, after a general protection fault; aarch64: never, because the kernel then
  /// tells the address.
  { T::may_be_bad_address(context) } noexcept -> std::same_as<bool>;

  /// Whether the last trap of this thread was a page fault, and the address that it was about.
  /// Every signal's frame shows them, a sent one's too. x86-64: trap_nr and cr2; aarch64:
  /// fault_address and the ESR record.
  { T::last_trap_was_page_fault(context) } noexcept -> std::same_as<bool>;
  { T::last_fault_address(context) } noexcept -> std::same_as<std::uintptr_t>;
};
// clang-format on

}  // namespace growstack::handler
