// Growable stacks for makecontext(3) and swapcontext(3).
#pragma once

#include <growstack/stack.hpp>

#include <ucontext.h>

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack {

/// getcontext(3) and makecontext(3) in one: swapcontext(3) to `context` will call
/// function(argument) on `stack`, and go on with `successor` when that returns (null: the thread
/// ends). Attaches the calling thread; any other that resumes the context must be attached, too
/// (attach_thread). SIGSEGV and SIGBUS will not be blocked there, whatever the caller blocks: a
/// fault would kill. The stack must stay until nothing runs on it. Any thread; not from a signal
/// handler. Throws std::system_error: what attach_thread() throws, and the errno of getcontext(3).
void make_context(ucontext_t& context, const Stack& stack, void (*function)(void*), void* argument,
                  ucontext_t* successor = nullptr);

}  // namespace growstack

#pragma GCC visibility pop
