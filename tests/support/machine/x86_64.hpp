// x86-64.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace growstack::testing::machine {

/// Makes a system call by one instruction. A call of libc's would push its return address, and so
/// touch the stack first. Returns what the kernel returns: a negative errno for an error.
[[gnu::always_inline]] inline long bare_system_call(long number, long first, long second = 0,
                                                    long third = 0, long fourth = 0) {
  long result = number;
  register long in_r10 asm("r10") = fourth;
  asm volatile("syscall"
               : "+a"(result)
               : "D"(first), "S"(second), "d"(third), "r"(in_r10)
               : "rcx", "r11", "memory");
  return result;
}

/// Makes a system call while the stack pointer is `there`.
[[gnu::noinline]] inline void system_call_with_stack_pointer(void* there, long number, long first,
                                                             long second, long third) {
  asm volatile(
      "mov %%rsp, %%r12\n\t"
      "mov %[there], %%rsp\n\t"
      "syscall\n\t"
      "mov %%r12, %%rsp"
      : "+a"(number)
      : [there] "r"(there), "D"(first), "S"(second), "d"(third)
      : "r12", "rcx", "r11", "memory");
}

/// Has the processor raise SIGTRAP after each instruction from now on, or no more.
[[gnu::always_inline]] inline void trap_each_instruction(bool on) {
  constexpr std::uint64_t trap_flag = 0x100;
  std::uint64_t flags = 0;
  // The red zone stays as it is.
  asm volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\tpopq %0\n\tlea 128(%%rsp), %%rsp"
               : "=r"(flags)
               :
               : "memory");
  flags = on ? flags | trap_flag : flags & ~trap_flag;
  asm volatile("lea -128(%%rsp), %%rsp\n\tpushq %0\n\tpopfq\n\tlea 128(%%rsp), %%rsp"
               :
               : "r"(flags)
               : "cc", "memory");
}

/// Its upper 17 bits are not equal, as those of every canonical address are. The processor raises a
/// general protection fault, which has no address.
inline constexpr std::uintptr_t bad_address = std::uintptr_t{0x8000} << 48U;

inline constexpr unsigned char return_instruction = 0xc3;

/// Fills memory with machine code: wherever it is entered, it returns.
inline void fill_with_returns(void* code, std::size_t size) {
  std::memset(code, return_instruction, size);
}

/// Returns whether the first instructions of a function read %fs:0x70, the word of the thread's own
/// that says where its piece of a split stack ends.
inline bool reads_end_of_split_stack(std::uintptr_t (*function)()) {
  constexpr std::string_view operand("\x25\x70\x00\x00\x00", 5);
  const std::string_view code(reinterpret_cast<const char*>(function), 48);
  const std::string_view first_part =
      code.substr(0, code.find(static_cast<char>(return_instruction)));
  return first_part.find(operand) != std::string_view::npos;
}

}  // namespace growstack::testing::machine
