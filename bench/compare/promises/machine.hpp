// The stack pointer somewhere else for the time of one call: what compilers offer no words for.
// x86-64.
#pragma once

#include <cstdint>
#include <type_traits>

namespace growstack::compare {

/// Calls f(argument) with the stack pointer at `stack_pointer` (rounded down to 16 bytes), which
/// lies below the caller's frame on the same stack, or on another one: the call pushes its return
/// address right below. Nothing may be thrown.
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

/// The same of a callable that throws nothing.
template <class F>
void call_at(std::uintptr_t stack_pointer, F&& f) {
  using Callable = std::remove_reference_t<F>;
  call_at(
      stack_pointer, [](void* it) { (*static_cast<Callable*>(it))(); }, &f);
}

/// A system call as a compiler's inline assembly makes it, from a frame that starts at
/// `stack_pointer`: nothing is pushed, so nobody has touched the memory there. Returns what the
/// kernel returns: -errno.
inline long syscall_at(std::uintptr_t stack_pointer, long number, std::uintptr_t a = 0,
                       std::uintptr_t b = 0, std::uintptr_t c = 0, std::uintptr_t d = 0,
                       std::uintptr_t e = 0, std::uintptr_t f = 0) {
  register std::uintptr_t r10 asm("r10") = d;
  register std::uintptr_t r8 asm("r8") = e;
  register std::uintptr_t r9 asm("r9") = f;
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
