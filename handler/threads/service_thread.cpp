#include "threads/service_thread.hpp"

#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/handler.hpp>

#include "anywhere/futex.hpp"
#include "anywhere/keep_handler.hpp"
#include "anywhere/own_descriptor.hpp"
#include "anywhere/processors.hpp"

#include <linux/close_range.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <ctime>

namespace growstack::handler {
namespace {

constinit thread_local bool starting = false;

/// Gives the calling thread the default scheduling policy and the processors that the process was
/// started on, as far as the kernel and the program's filters let it: the thread does its work on
/// any others as well. It asks for nothing that it has, because a filter may end who asks.
void schedule_as_usual() noexcept {
  if (sched_getscheduler(0) != SCHED_OTHER) {
    const sched_param priority{.sched_priority = 0};
    sched_setscheduler(0, SCHED_OTHER, &priority);
  }
  cpu_set_t now;
  if (CPU_COUNT(&processors_at_start()) != 0 &&
      (sched_getaffinity(0, sizeof now, &now) != 0 || !CPU_EQUAL(&now, &processors_at_start()))) {
    sched_setaffinity(0, sizeof(cpu_set_t), &processors_at_start());
  }
}

/// Gives the calling thread a descriptor table of its own that holds only `kept`. Uses
/// close_range(2), because container runtimes forbid unshare(2). Returns 0 or an errno.
int keep_descriptor_only(int kept) noexcept {
  const auto number = static_cast<unsigned>(kept);
  if (number > 0 && close_range(0, number - 1, CLOSE_RANGE_UNSHARE) != 0) {
    return errno;
  }
  return close_range(number + 1, ~0U, CLOSE_RANGE_UNSHARE) == 0 ? 0 : errno;
}

}  // namespace

bool starts_service_thread() noexcept { return starting; }

/// Returns 0 or an errno: EINVAL if the stack is too small.
int ServiceThread::create_on_stack_of(std::size_t bytes, pthread_attr_t& attributes) noexcept {
  if (const int error = stack_.map(bytes); error != 0) {
    return error;
  }
  pthread_attr_setstack(&attributes, stack_.begin(), bytes);
  id_.store(0, std::memory_order_relaxed);
  const int error = pthread_create(&thread_, &attributes, body, this);
  if (error != 0) {
    stack_.unmap();
    errno = error;
    return failed(SystemCall::pthread_create);
  }
  return 0;
}

int ServiceThread::create() noexcept {
  ServiceStack::take_back_left();
  pthread_attr_t attributes;
  if (const int error = pthread_attr_init(&attributes); error != 0) {
    return error;
  }
  // The new thread inherits the mask, so there is no moment in which it could take a signal.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  static_cast<void>(change_mask(SIG_SETMASK, &all, &before));
  // Generous, because only touched pages cost, and because glibc takes the program's static
  // thread-local storage, which may be large, out of it. EINVAL says that it does not fit.
  constexpr std::size_t usual_stack = std::size_t{8} << 20;
  constexpr std::size_t largest_stack = std::size_t{512} << 20;
  starting = true;
  int error = EINVAL;
  for (std::size_t bytes = usual_stack; error == EINVAL && bytes <= largest_stack; bytes *= 2) {
    error = create_on_stack_of(bytes, attributes);
  }
  starting = false;
  static_cast<void>(change_mask(SIG_SETMASK, &before, nullptr));
  pthread_attr_destroy(&attributes);
  return error;
}

int ServiceThread::start(int descriptor) noexcept {
  if (is_started()) {
    return 0;
  }
  if (const int error = prepare(descriptor); error != 0) {
    return error;
  }
  descriptor_ = descriptor;
  result_.store(pending, std::memory_order_relaxed);
  if (const int error = create(); error != 0) {
    return error;
  }
  // Also if nothing can fail any more: while a thread begins, it holds locks of a sanitizer, which
  // a child that is forked meanwhile would wait for.
  if (const int error = wait_for_result(); error != 0) {
    errno = error;
    return failed(SystemCall::close_range);  // nothing else fails in the new thread
  }
  (fork_wiped()->*joinable_).store(1, std::memory_order_release);
  return 0;
}

/// Returns what became of the new thread, which is joined unless that is 0. A filter on system
/// calls may end one thread alone, and without a word: EPERM.
int ServiceThread::wait_for_result() noexcept {
  using namespace std::chrono_literals;
  while (result_.load(std::memory_order_acquire) == pending) {
    if (futex_wait(result_, pending, 100ms) && pthread_tryjoin_np(thread_, nullptr) == 0) {
      stack_.unmap();
      return EPERM;
    }
  }
  const auto error = static_cast<int>(result_.load(std::memory_order_acquire));
  if (error != 0) {
    pthread_join(thread_, nullptr);
    stack_.unmap();
  }
  return error;
}

void* ServiceThread::body(void* self) noexcept {
  auto& thread = *static_cast<ServiceThread*>(self);
  thread.id_.store(static_cast<pid_t>(syscall(SYS_gettid)), std::memory_order_relaxed);
  pthread_setname_np(pthread_self(), thread.name_);
  schedule_as_usual();
  const int descriptor = thread.descriptor_;
  void* const end_of_stack = thread.stack_.begin();
  const int error = descriptor == no_descriptor ? 0 : keep_descriptor_only(descriptor);
  if (error == 0) {
    thread.settle();
  }
  // From here on the object may belong to another thread, if this one is abandoned.
  thread.result_.store(static_cast<std::uint32_t>(error), std::memory_order_release);
  futex_wake(thread.result_);
  if (error == 0) {
    thread.run(descriptor);
    if (descriptor != no_descriptor) {
      // Not close(2), because ThreadSanitizer believes that all threads share one table.
      close_quietly(descriptor);
    }
    ServiceStack::note_return(end_of_stack);
  }
  return nullptr;
}

bool ServiceThread::is_started() const noexcept {
  const ForkWiped* const shared = fork_wiped();
  return shared != nullptr && (shared->*joinable_).load(std::memory_order_relaxed) != 0;
}

/// Returns true if the thread is started; from then on the caller has to join it or leave
/// it to itself.
bool ServiceThread::claim() noexcept {
  ForkWiped* const shared = fork_wiped();
  return shared != nullptr && (shared->*joinable_).exchange(0, std::memory_order_relaxed) != 0;
}

void ServiceThread::end() noexcept {
  if (!claim()) {
    return;
  }
  // Not pthread_clockjoin_np(3), which ThreadSanitizer does not know.
  timespec deadline{};
  clock_gettime(CLOCK_REALTIME, &deadline);
  deadline.tv_sec += 10;
  // A filter on system calls may have ended it, and then there is nobody to ask.
  if (pthread_tryjoin_np(thread_, nullptr) == 0 ||
      (ask_to_end() && pthread_timedjoin_np(thread_, nullptr, &deadline) == 0)) {
    stack_.unmap();
  } else {
    leave();
  }
  ServiceStack::take_back_left();
}

void ServiceThread::abandon() noexcept {
  if (claim()) {
    leave();
  }
}

void ServiceThread::leave() noexcept {
  // Somebody may have ended it. The C library finds that out only of a thread that is joined.
  if (pthread_tryjoin_np(thread_, nullptr) == 0) {
    stack_.unmap();
    return;
  }
  pthread_detach(thread_);
  stack_.leave_to(id_.load(std::memory_order_relaxed));
}

}  // namespace growstack::handler
