#include "threads.hpp"

#include <sched.h>

#include <algorithm>
#include <climits>
#include <csignal>
#include <cstring>

namespace growstack::handler {

int start_service_thread(pthread_t& thread, void* (*body)(void*), void* argument, std::size_t stack_bytes) noexcept {
  pthread_attr_t attributes;
  if (const int error = pthread_attr_init(&attributes); error != 0) {
    return error;
  }
  const sched_param priority{.sched_priority = 0};
  pthread_attr_setstacksize(&attributes, std::max<std::size_t>(stack_bytes, PTHREAD_STACK_MIN));
  pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
  pthread_attr_setschedpolicy(&attributes, SCHED_OTHER);
  pthread_attr_setschedparam(&attributes, &priority);

  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // inherited: there is no moment in which it could take a signal
  const int error = pthread_create(&thread, &attributes, body, argument);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  return error;
}

void settle_service_thread(const char* name) noexcept {
  pthread_setname_np(pthread_self(), name);
  cpu_set_t everywhere;
  std::memset(&everywhere, 0xff, sizeof everywhere);
  sched_setaffinity(0, sizeof everywhere, &everywhere);  // the kernel keeps what the cpuset allows
}

}  // namespace growstack::handler
