// x86-64: where the interrupted registers are, and what the page-fault error code says.
#pragma once

#include <growstack/handler/classify.hpp>

#include <sys/ucontext.h>

#include <csignal>
#include <cstddef>
#include <cstdint>

namespace growstack::handler {

/// See contract.hpp.
struct ThisMachine {
  /// System V ABI, 3.2.2.
  static constexpr std::size_t red_zone_bytes = 128;

  /// The kernel hands out addresses from 2^47 on (5-level paging) only on request.
  static constexpr unsigned user_address_bits = 47;

  /// MINSIGSTKSZ, the constant of kernels before 5.14, which do not tell.
  static constexpr std::size_t untold_frame_bytes = 2048;

  static constexpr std::size_t page_table_entry_bytes = 8;

  static std::uintptr_t stack_pointer(const ucontext_t& context) noexcept {
    return register_of(context, REG_RSP);
  }

  static std::uintptr_t program_counter(const ucontext_t& context) noexcept {
    return register_of(context, REG_RIP);
  }

  // The kernel copies the page-fault error code to REG_ERR; its bits: Intel SDM vol. 3, 4.7.

  static Access access(const ucontext_t& context) noexcept {
    const std::uintptr_t error = register_of(context, REG_ERR);
    if ((error & 0x10U) != 0) {
      return Access::execute;
    }
    return (error & 0x02U) != 0 ? Access::write : Access::read;
  }

  static bool page_present(const ucontext_t& context) noexcept {
    return (register_of(context, REG_ERR) & 0x01U) != 0;
  }

  /// The kernel's own SIGSEGV, without an address. The general protection fault of a non-canonical
  /// address looks the same.
  static bool may_be_lost_signal_frame(const Fault& fault) noexcept {
    return fault.signal == SIGSEGV && fault.code == SI_KERNEL && fault.address == 0;
  }

  /// Whether the last trap of this thread was a general protection fault (vector 13), as an address
  /// that is not canonical raises. This stays true for some time after a protection fault that the
  /// program survived, because the kernel leaves the number there when it raises a signal for
  /// another reason.
  static bool may_be_bad_address(const ucontext_t& context) noexcept {
    return register_of(context, REG_TRAPNO) == 13;
  }

  /// Vector 14. The kernel sets trap_nr, cr2 and the error code when a fault raises a signal, and
  /// copies them to the frame of every later signal (setup_sigcontext).
  static bool last_trap_was_page_fault(const ucontext_t& context) noexcept {
    return register_of(context, REG_TRAPNO) == 14;
  }

  static std::uintptr_t last_fault_address(const ucontext_t& context) noexcept {
    return register_of(context, REG_CR2);
  }

 private:
  static std::uintptr_t register_of(const ucontext_t& context, int number) noexcept {
    return static_cast<std::uintptr_t>(context.uc_mcontext.gregs[number]);
  }
};

}  // namespace growstack::handler

/// Calls rdi(rsi) while rbp is 0. The unwind table says where the caller's rbp is.
#define GROWSTACK_CALL_OUTERMOST \
  "  .cfi_startproc\n"           \
  "  pushq %rbp\n"               \
  "  .cfi_def_cfa_offset 16\n"   \
  "  .cfi_offset %rbp, -16\n"    \
  "  movq %rdi, %rax\n"          \
  "  movq %rsi, %rdi\n"          \
  "  xorl %ebp, %ebp\n"          \
  "  callq *%rax\n"              \
  "  popq %rbp\n"                \
  "  .cfi_restore %rbp\n"        \
  "  .cfi_def_cfa_offset 8\n"    \
  "  ret\n"                      \
  "  .cfi_endproc\n"

/// Calls rsi(rdx) with the stack pointer just below rdi, while rbp is 0. rbx keeps the stack of the
/// caller. For unwinders the function is the last one that there is: its caller has another stack.
#define GROWSTACK_CALL_ON_STACK    \
  "  .cfi_startproc\n"             \
  "  pushq %rbp\n"                 \
  "  .cfi_def_cfa_offset 16\n"     \
  "  .cfi_offset %rbp, -16\n"      \
  "  pushq %rbx\n"                 \
  "  .cfi_def_cfa_offset 24\n"     \
  "  .cfi_offset %rbx, -24\n"      \
  "  subq $8, %rsp\n"              \
  "  .cfi_def_cfa_offset 32\n"     \
  "  stmxcsr (%rsp)\n"             \
  "  fnstcw 4(%rsp)\n"             \
  "  movq %rsp, %rbx\n"            \
  "  .cfi_remember_state\n"        \
  "  .cfi_def_cfa_register %rbx\n" \
  "  .cfi_undefined %rip\n"        \
  "  leaq -16(%rdi), %rsp\n"       \
  "  movq %rdx, %rdi\n"            \
  "  xorl %ebp, %ebp\n"            \
  "  callq *%rsi\n"                \
  "  movq %rbx, %rsp\n"            \
  "  .cfi_restore_state\n"         \
  "  ldmxcsr (%rsp)\n"             \
  "  fldcw 4(%rsp)\n"              \
  "  addq $8, %rsp\n"              \
  "  .cfi_def_cfa_offset 24\n"     \
  "  popq %rbx\n"                  \
  "  .cfi_restore %rbx\n"          \
  "  .cfi_def_cfa_offset 16\n"     \
  "  popq %rbp\n"                  \
  "  .cfi_restore %rbp\n"          \
  "  .cfi_def_cfa_offset 8\n"      \
  "  ret\n"                        \
  "  .cfi_endproc\n"
