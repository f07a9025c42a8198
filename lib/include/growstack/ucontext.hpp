// Growable stacks for makecontext(3) and swapcontext(3).
#pragma once

#include <growstack/export.hpp>
#include <growstack/stack.hpp>

#include <ucontext.h>

namespace growstack {

/// Makes a context that calls function(argument) on `stack`, as getcontext(3) and makecontext(3)
/// do. swapcontext(3) to `context` starts it. When the function returns, `successor` goes on; if
/// that is null, the thread ends.
///
/// Attaches the calling thread. Every other thread that resumes the context must be attached too
/// (attach_thread()). SIGSEGV and SIGBUS are not blocked in the context, whatever the caller
/// blocks, because a fault would then kill the process. The stack must exist until nothing runs on
/// it. Any thread; not from a signal handler. Throws std::system_error: what attach_thread()
/// throws, and the errno of getcontext(3).
GROWSTACK_EXPORT void make_context(ucontext_t& context, const Stack& stack, void (*function)(void*),
                                   void* argument, ucontext_t* successor = nullptr);

}  // namespace growstack
