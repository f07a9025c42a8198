#include "proofs/soak/signals.hpp"

#include <growstack/handler/handler.hpp>

#include "proofs/soak/counts.hpp"
#include "proofs/soak/last_words.hpp"
#include "proofs/soak/tenant.hpp"
#include "proofs/soak/world.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <initializer_list>
#include <mutex>

namespace growstack::soak {
namespace {

/// Uses some stack, and looks at a room of whoever was interrupted.
void look_at_tenant(Worker& worker, std::size_t choice) {
  volatile char space[1500];
  std::memset(const_cast<char*>(space), 1, sizeof space);
  const Tenant* const tenant = worker.tenant.load();
  if (tenant != nullptr && choice % 4 == 0) {
    tenant->verify_one(choice / 4);
  }
}

void on_signal(int signal, siginfo_t* info, void*) {
  const int before = errno;
  void* const told = info->si_value.sival_ptr;
  if (signal == signal_with_onstack()) {
    look_at_tenant(*static_cast<Worker*>(told),
                   counts.received_on.fetch_add(1, std::memory_order_relaxed));
  } else if (signal == signal_without_onstack()) {
    look_at_tenant(*static_cast<Worker*>(told),
                   counts.received_off.fetch_add(1, std::memory_order_relaxed));
  } else {
    counts.timers_received.fetch_add(1, std::memory_order_relaxed);
    *static_cast<std::atomic<bool>*>(told) = true;
  }
  errno = before;
}

}  // namespace

int signal_with_onstack() { return SIGRTMIN + 4; }
int signal_without_onstack() { return SIGRTMIN + 5; }
int signal_of_timers() { return SIGRTMIN + 6; }

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_sigaction = on_signal;
  for (const int signal : {signal_with_onstack(), signal_without_onstack(), signal_of_timers()}) {
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    action.sa_flags |= signal == signal_without_onstack() ? 0 : SA_ONSTACK;
    sigaction(signal, &action, nullptr);
  }
}

void send_a_signal(Random& random) {
  Worker& worker = world->workers[random.below(world->settings.threads)];
  const bool with_onstack = random.one_in(2);
  const int signal = with_onstack ? signal_with_onstack() : signal_without_onstack();
  siginfo_t info{};
  info.si_signo = signal;
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_value.sival_ptr = &worker;
  // The thread cannot end meanwhile.
  const std::lock_guard lock(worker.target_lock);
  if (worker.target == 0) {
    return;
  }
  if (syscall(SYS_rt_tgsigqueueinfo, getpid(), worker.target, signal, &info) == 0) {
    (with_onstack ? counts.sent_on : counts.sent_off).fetch_add(1, std::memory_order_relaxed);
  } else if (errno != EAGAIN) {
    wrong("rt_tgsigqueueinfo: %d", errno);
  }
}

void send_until_season_ends(Random& random) {
  while (!world->season_ends) {
    for (std::size_t burst = random.log_uniform(1, 16); burst > 0; --burst) {
      send_a_signal(random);
    }
    usleep(static_cast<useconds_t>(random.log_uniform(50, 2000)));
  }
}

namespace {

/// Counts the difference as lost, also if more arrived than were sent.
void expect_all(const char* kind, std::uint64_t sent, std::uint64_t received,
                std::uint64_t reported) {
  const std::uint64_t told = received + reported;
  counts.signals_lost.fetch_add(sent < told ? told - sent : sent - told);
  if (sent != told) {
    wrong("of %lu signals %s, %lu arrived and %lu were reported as lost", sent, kind, received,
          reported);
  }
}

}  // namespace

void expect_no_signal_was_lost() {
  counts.reported_lost = handler::counters().lost_signal_frame;
  expect_all("with SA_ONSTACK", counts.sent_on, counts.received_on, 0);
  expect_all("without SA_ONSTACK", counts.sent_off, counts.received_off, counts.reported_lost);
  expect_all("of timers", counts.timers_sent, counts.timers_received, 0);
}

}  // namespace growstack::soak
