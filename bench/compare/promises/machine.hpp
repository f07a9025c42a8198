// One call with the stack pointer somewhere else, which compilers have no words for. x86-64 only.
#pragma once

#include <cstdint>
#include <type_traits>

namespace growstack::compare {

/// Calls f(argument) with the stack pointer at `stack_pointer`, rounded down to 16 bytes, which
/// lies below the caller's frame on the same stack, or on another one. The call pushes its return
/// address right below. f must not throw.
inline void call_at(std::uintptr_t stack_pointer, void (*f)(void*), void* argument) {
  constexpr std::uintptr_t alignment = 16;
  asm volatile(
      "mov %%rsp, %%rbx\n\t"
      "mov %[there], %%rsp\n\t"
      "call *%[f]\n\t"
      "mov %%rbx, %%rsp"
      : "+D"(argument)
      : [there] "r"(stack_pointer & ~(alignment - 1)), [f] "r"(f)
      : "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "mm0", "mm1", "mm2", "mm3",
        "mm4", "mm5", "mm6", "mm7", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
        "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory");
}

/// Calls f() in the same way.
template <class F>
void call_at(std::uintptr_t stack_pointer, F&& f) {
  using Callable = std::remove_reference_t<F>;
  call_at(
      stack_pointer, [](void* it) { (*static_cast<Callable*>(it))(); }, &f);
}

/// Makes a system call as inline assembly does, in a frame that starts at `stack_pointer`: nothing
/// is pushed, so nobody has touched the memory there. Further arguments are 0. Returns what the
/// kernel returns, -errno for an error.
inline long syscall_at(std::uintptr_t stack_pointer, long number, std::uintptr_t a,
                       std::uintptr_t b = 0, std::uintptr_t c = 0) {
  register std::uintptr_t r10 asm("r10") = 0;
  register std::uintptr_t r8 asm("r8") = 0;
  register std::uintptr_t r9 asm("r9") = 0;
  asm volatile(
      "mov %%rsp, %%rbx\n\t"
      "mov %[there], %%rsp\n\t"
      "syscall\n\t"
      "mov %%rbx, %%rsp"
      : "+a"(number)
      : [there] "r"(stack_pointer), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
      : "rbx", "rcx", "r11", "cc", "memory");
  return number;
}

}  // namespace growstack::compare
