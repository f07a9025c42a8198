// Signals from worker to worker, and one-shot timers that fire while the stack grows.
#include "proofs/soak/signals.hpp"

#include <growstack/growstack.hpp>

#include "proofs/soak/activities/list.hpp"
#include "proofs/soak/counts.hpp"
#include "proofs/soak/last_words.hpp"
#include "proofs/soak/use_stack.hpp"
#include "proofs/soak/world.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <ctime>

namespace growstack::soak {

void send_signals(Worker& worker) {
  for (std::size_t burst = worker.random.log_uniform(1, 32); burst > 0; --burst) {
    send_a_signal(worker.random);
  }
}

void wait_for_timer(Worker& worker) {
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event._sigev_un._tid = gettid();
  event.sigev_signo = signal_of_timers();
  std::atomic<bool> arrived{false};
  event.sigev_value.sival_ptr = &arrived;
  // The kernel's own timer, because libc's may start a thread.
  int timer = 0;
  if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) != 0) {
    wrong("timer_create: %d", errno);
  }
  itimerspec once{};
  once.it_value.tv_nsec = static_cast<long>(worker.random.log_uniform(5'000, 2'000'000));
  worker.note("waits for a timer", static_cast<std::size_t>(once.it_value.tv_nsec));
  counts.timers_sent.fetch_add(1, std::memory_order_relaxed);
  syscall(SYS_timer_settime, timer, 0, &once, nullptr);
  call(some_options(worker.random), [&] { use_running_stack(worker); });
  while (!arrived) {
    usleep(200);  // the watchdog finds out if it never comes
  }
  syscall(SYS_timer_delete, timer);
}

}  // namespace growstack::soak
