// pthread_create(3) and thrd_create(3) for programs that link this library. They attach every
// thread that they start, so that any thread may run on growable stacks. std::thread and all
// libraries start their threads by these functions.
#include "adapters/next_definition.hpp"
#include "stacks/attached_start.hpp"

#include <growstack/export.hpp>
#include <growstack/handler/commit_ahead.hpp>

#include <pthread.h>
#include <threads.h>

#include <cerrno>

namespace {

using growstack::AttachedStart;
using growstack::Next;

constinit Next<int(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*)> next_pthread_create{
    "pthread_create"};
constinit Next<int(thrd_t*, thrd_start_t, void*)> next_thrd_create{"thrd_create"};

}  // namespace

extern "C" {

// Programs ask the linker for this name, so that it takes the whole file.
GROWSTACK_EXPORT extern const int growstack_attach_all;
const int growstack_attach_all = 1;

GROWSTACK_EXPORT int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                                    void* (*start)(void*), void* argument) noexcept {
  auto* const real = next_pthread_create.get();
  growstack::handler::commit_for_c_library();
  if (growstack::handler::starts_service_thread()) {
    return real(thread, attributes, start, argument);
  }
  auto made = AttachedStart<void*>::make(start, argument);
  if (made == nullptr) {
    return EAGAIN;
  }
  const int error = real(thread, attributes, &AttachedStart<void*>::run, made.get());
  if (error == 0) {
    static_cast<void>(made.release());  // the thread owns it now
  }
  return error;
}

GROWSTACK_EXPORT int thrd_create(thrd_t* thread, thrd_start_t start, void* argument) {
  auto* const real = next_thrd_create.get();
  growstack::handler::commit_for_c_library();
  auto made = AttachedStart<int>::make(start, argument);
  if (made == nullptr) {
    return thrd_nomem;
  }
  const int result = real(thread, &AttachedStart<int>::run, made.get());
  if (result == thrd_success) {
    static_cast<void>(made.release());
  }
  return result;
}

}  // extern "C"
