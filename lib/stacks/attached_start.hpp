// The first instructions of a thread that somebody else's code starts: attach it, then run what it
// was made for.
#pragma once

#include <growstack/handler/handler.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

namespace growstack {

/// Made by the thread that starts another, so that lack of memory is its error. Given up to the new
/// thread.
template <class Result>
class AttachedStart {
 public:
  using Function = Result (*)(void*);

  /// Null if there is no memory.
  static std::unique_ptr<AttachedStart> make(Function start, void* argument) noexcept {
    std::unique_ptr<AttachedStart> made(new (std::nothrow) AttachedStart(start, argument));
    return made != nullptr && made->memory_.reserve() == 0 ? std::move(made) : nullptr;
  }

  /// The start routine for pthread_create(3); its argument is an AttachedStart, released.
  static Result run(void* made) {
    std::unique_ptr<AttachedStart> self(static_cast<AttachedStart*>(made));
    if (const int error = handler::attach_thread(self->memory_); error != 0) {
      // Running on would be death without a word at the first growth.
      static_cast<void>(std::fprintf(stderr,
                                     "growstack: cannot set up an alternate signal stack: %s\n",
                                     std::strerror(error)));
      std::abort();
    }
    const Function start = self->start_;
    void* const argument = self->argument_;
    self.reset();  // the thread may end by pthread_exit
    return start(argument);
  }

 private:
  AttachedStart(Function start, void* argument) noexcept : start_(start), argument_(argument) {}

  handler::AlternateStackMemory memory_;
  Function start_;
  void* argument_;
};

}  // namespace growstack
