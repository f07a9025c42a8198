// Signals that come at any moment of what a thread does, each of which is known to have arrived
// once, twice or never. Timers of that thread send most of them, because a timer expires at its
// time however busy the processors are. Another thread sends more, as fast as it comes to it.
#pragma once

#include <growstack/handler/handler.hpp>

#include "machine/machine.hpp"

#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <system_error>
#include <thread>
#include <vector>

namespace growstack::testing {

/// A real-time signal, and its action. These signals are queued: two never become one.
struct SignalKind {
  const char* name = "";
  int flags = 0;
  bool blocks_all = true;  ///< other signals do not interrupt its handler
  /// What the handler does besides counting. The argument is the interrupted stack pointer.
  void (*also)(std::uintptr_t interrupted) = nullptr;
};

/// What has come of the signals.
struct Received {
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t lost = 0;         ///< as the library counts them
  std::uint64_t lost_proper = 0;  ///< signals of kinds with SA_ONSTACK that did not arrive
  std::uint64_t twice = 0;

  /// Returns whether each signal arrived once or was counted as lost, and none of those that have
  /// the flag was lost.
  [[nodiscard]] bool adds_up() const {
    return sent == received + lost && lost_proper == 0 && twice == 0;
  }
  Received& operator+=(const Received& other) {
    sent += other.sent;
    received += other.received;
    lost += other.lost;
    lost_proper += other.lost_proper;
    twice += other.twice;
    return *this;
  }
};

namespace detail {

/// What is known of one signal, or of one timer, whose signals come one after the other.
struct Expected {
  std::atomic<std::uint32_t> sent = 0;
  std::atomic<std::uint32_t> received = 0;
};

inline constexpr std::size_t most_kinds = 8;
inline std::array<SignalKind, most_kinds> storm_kinds{};
inline std::atomic<std::uint64_t> storm_received{0};

inline int signal_of_kind(std::size_t kind) { return SIGRTMIN + 1 + static_cast<int>(kind); }

inline void on_storm(int signal, siginfo_t* info, void* context) {
  const int errno_before = errno;
  const SignalKind& kind = storm_kinds[static_cast<std::size_t>(signal - signal_of_kind(0))];
  static_cast<Expected*>(info->si_value.sival_ptr)
      ->received.fetch_add(1, std::memory_order_relaxed);
  if (kind.also != nullptr) {
    kind.also(handler::ThisMachine::stack_pointer(*static_cast<const ucontext_t*>(context)));
  }
  storm_received.fetch_add(1, std::memory_order_release);
  errno = errno_before;
}

}  // namespace detail

/// Only one storm at a time.
class Storm {
 public:
  explicit Storm(std::span<const SignalKind> kinds)
      : kinds_(kinds.size()), by_thread_(most_by_thread) {
    for (std::size_t kind = 0; kind < kinds_; ++kind) {
      install(kind, kinds[kind]);
    }
    detail::storm_received = 0;
    lost_before_ = handler::counters().lost_signal_frame;
    sender_ = std::thread([this] { send_by_thread(); });
  }
  ~Storm() { stop(); }
  Storm(const Storm&) = delete;
  Storm& operator=(const Storm&) = delete;

  /// Aims at the calling thread, and makes its timers. It must aim at nobody before it ends.
  void aim_here() {
    timers_.clear();
    for (std::size_t kind = 0; kind < kinds_; ++kind) {
      for (std::size_t each = 0; each < timers_of_a_kind; ++each) {
        timers_.push_back(std::make_unique<Timer>(kind));
      }
    }
    const std::lock_guard lock(mutex_);
    target_ = gettid();
  }

  /// Lets each timer of the calling thread expire once, within so many nanoseconds.
  void set_timers(long within) {
    sent_by_timers_ += timers_.size();
    for (const auto& timer : timers_) {
      timer->expire_in(1 + static_cast<long>(chance_() % static_cast<unsigned long>(within)));
    }
  }

  /// Waits until all that was sent has arrived or is lost. Returns false if that does not happen.
  [[nodiscard]] bool wait() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (on_their_way() > 0) {
      if (std::chrono::steady_clock::now() > deadline) {
        return false;
      }
    }
    return true;
  }

  /// The thread sends no more, and all that it sent has arrived or is lost: the kernel delivers
  /// what is pending before it returns from a system call.
  [[nodiscard]] bool aim_at_nobody() {
    {
      const std::lock_guard lock(mutex_);
      target_ = 0;
    }
    syscall(SYS_getppid);
    const bool all_are_here = wait();
    for (const auto& timer : timers_) {
      ended_ += timer->result();
    }
    timers_.clear();
    return all_are_here;
  }

  /// Call it when it aims at nobody.
  [[nodiscard]] Received result() {
    stop();
    Received all = ended_;
    for (std::size_t value = 0; value < by_thread_.size(); ++value) {
      all += result_of(by_thread_[value], value % kinds_);
    }
    all.lost = lost();
    return all;
  }
  /// Returns how many signals the timers have sent so far.
  [[nodiscard]] std::uint64_t sent_by_timers() const { return sent_by_timers_; }

 private:
  static constexpr std::size_t timers_of_a_kind = 2;
  /// So many may be on their way. The frames of so many handlers fit on an alternate stack.
  static constexpr std::uint64_t most_on_their_way = 32;
  static constexpr std::size_t most_by_thread = 500'000;

  static Received result_of(const detail::Expected& one, std::size_t kind) {
    const std::uint32_t sent = one.sent;
    const std::uint32_t received = one.received;
    const bool is_proper = (detail::storm_kinds[kind].flags & SA_ONSTACK) != 0;
    return {.sent = sent,
            .received = received,
            .lost_proper = is_proper && received < sent ? sent - received : 0,
            .twice = received > sent ? received - sent : 0};
  }

  /// A timer whose signals go to the thread that made it.
  class Timer {
   public:
    explicit Timer(std::size_t kind) : kind_(kind) {
      sigevent event{};
      event.sigev_notify = SIGEV_THREAD_ID;
      event._sigev_un._tid = gettid();
      event.sigev_signo = detail::signal_of_kind(kind);
      event.sigev_value.sival_ptr = &expected_;
      if (timer_create(CLOCK_MONOTONIC, &event, &timer_) != 0) {
        throw std::system_error(errno, std::generic_category(), "timer_create");
      }
    }
    ~Timer() { timer_delete(timer_); }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    void expire_in(long nanoseconds) {
      expected_.sent.fetch_add(1, std::memory_order_relaxed);
      const itimerspec once{.it_interval = {}, .it_value = {0, nanoseconds}};
      timer_settime(timer_, 0, &once, nullptr);
    }
    [[nodiscard]] Received result() const { return result_of(expected_, kind_); }

   private:
    std::size_t kind_;
    timer_t timer_{};
    detail::Expected expected_;
  };

  static void install(std::size_t number, const SignalKind& kind) {
    struct sigaction action {};
    action.sa_sigaction = detail::on_storm;
    action.sa_flags = SA_SIGINFO | kind.flags;
    if (kind.blocks_all) {
      sigfillset(&action.sa_mask);
      sigdelset(&action.sa_mask, SIGSEGV);  // the handler may grow the stack
      sigdelset(&action.sa_mask, SIGBUS);
    }
    detail::storm_kinds[number] = kind;
    sigaction(detail::signal_of_kind(number), &action, nullptr);
  }

  [[nodiscard]] std::uint64_t lost() const {
    return handler::counters().lost_signal_frame - lost_before_;
  }

  [[nodiscard]] std::int64_t on_their_way() const {
    const std::uint64_t ended = detail::storm_received.load(std::memory_order_acquire) + lost();
    return static_cast<std::int64_t>(sent_by_thread_ + sent_by_timers_ - ended);
  }

  bool send(std::size_t value) {
    siginfo_t info{};
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_value.sival_ptr = &by_thread_[value];
    const std::lock_guard lock(mutex_);
    if (target_ == 0) {
      return false;
    }
    // Counted before it is sent. Otherwise it could arrive first, and wait() would miss another.
    sent_by_thread_.fetch_add(1);
    by_thread_[value].sent = 1;
    if (syscall(SYS_rt_tgsigqueueinfo, getpid(), target_, detail::signal_of_kind(value % kinds_),
                &info) == 0) {
      return true;
    }
    by_thread_[value].sent = 0;
    sent_by_thread_.fetch_sub(1);
    return false;
  }

  void send_by_thread() {
    std::minstd_rand chance;
    std::size_t value = 0;
    while (!is_stopped_ && value < by_thread_.size()) {
      const bool there_is_room =
          on_their_way() < static_cast<std::int64_t>(most_on_their_way) && send(value);
      value += there_is_room ? 1 : 0;
      if (!there_is_room) {
        std::this_thread::yield();
      }
      for (auto pause = chance() % 1024; pause != 0; --pause) {
        std::atomic_signal_fence(std::memory_order_seq_cst);  // so that the loop stays
      }
    }
  }

  void stop() {
    is_stopped_ = true;
    if (sender_.joinable()) {
      sender_.join();
    }
  }

  std::size_t kinds_;
  std::vector<detail::Expected> by_thread_;
  std::uint64_t lost_before_ = 0;
  std::atomic<std::uint64_t> sent_by_thread_ = 0;
  std::atomic<std::uint64_t> sent_by_timers_ = 0;
  std::atomic<bool> is_stopped_ = false;
  std::mutex mutex_;
  pid_t target_ = 0;
  std::vector<std::unique_ptr<Timer>> timers_{};
  Received ended_{};
  std::minstd_rand chance_{};
  std::thread sender_;
};

}  // namespace growstack::testing
