// A start routine that attaches its thread, and then runs the function that the thread was made
// for.
#pragma once

#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/handler.hpp>
#include <growstack/handler/machine.hpp>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

namespace growstack {

/// The function of a new thread, and memory for its alternate signal stack. The thread that starts
/// the new one makes it, so that lack of memory is an error there. The new thread then owns it.
template <class Result>
class AttachedStart {
 public:
  using Function = Result (*)(void*);

  /// Returns null, with errno, if there is no memory.
  static std::unique_ptr<AttachedStart> make(Function start, void* argument) noexcept {
    std::unique_ptr<AttachedStart> made(new (std::nothrow) AttachedStart(start, argument));
    const int error = made == nullptr ? ENOMEM : made->memory_.reserve();
    if (error != 0) {
      made.reset();
      errno = error;
    }
    return made;
  }

  /// The start routine for pthread_create(3). Its argument is an AttachedStart, which it takes
  /// over.
  static Result run(void* made) {
    std::unique_ptr<AttachedStart> self(static_cast<AttachedStart*>(made));
    if (const int error = handler::attach_thread(self->memory_); error != 0) {
      die_without_alternate_stack(error);
    }
    Call call{self->start_, self->argument_};
    self.reset();  // now, because the thread may end by pthread_exit
    handler::call_outermost(&Call::run, &call);
    return call.result;
  }

 private:
  /// Otherwise the process would die without a report at the first growth.
  [[noreturn]] static void die_without_alternate_stack(int error) {
    const char* const call = handler::call_that_failed(error);
    const char* const name = handler::errno_name(error);
    static_cast<void>(std::fprintf(
        stderr,
        "growstack: cannot set up an alternate signal stack: %s%s%s: the kernel or a filter "
        "refuses what each thread on a growable stack needs: allow the call\n",
        call == nullptr ? "" : call, call == nullptr ? "" : ": ",
        name == nullptr ? std::strerror(error) : name));
    std::abort();
  }

  struct Call {
    Function start;
    void* argument;
    Result result{};

    static void run(void* given) {
      Call& call = *static_cast<Call*>(given);
      call.result = call.start(call.argument);
    }
  };

  AttachedStart(Function start, void* argument) noexcept : start_(start), argument_(argument) {}

  handler::AlternateStackMemory memory_;
  Function start_;
  void* argument_;
};

}  // namespace growstack
