// How should the helper answer: through a pipe of the faulting thread, or by a futex word? The
// request goes through a pipe in both cases, as it does in the library.
//
// The time includes writing the request, waking the helper, its read and its reply, waking up
// again, and two clock readings. It does not include what the helper would do in between (the
// commit), the signal, and the rest before a cold round.
//
// `apart`: the two threads are bound to two processors, otherwise to the same one. `rest_ms`: the
// rest before each round.
#include "parts/errors.hpp"

#include <benchmark/benchmark.h>

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

namespace growstack::bench {
namespace {

/// A request as long as the library's.
using Request = std::array<char, 48>;

class Pipe {
 public:
  Pipe() { require(pipe(ends_.data()) == 0, "pipe"); }
  ~Pipe() {
    close(ends_[0]);
    close_write_end();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  template <class T>
  void send(const T& message) const {
    require(write(ends_[1], &message, sizeof message) == static_cast<ssize_t>(sizeof message),
            "write");
  }
  /// Returns false at the end of the file.
  template <class T>
  [[nodiscard]] bool receive(T& message) const {
    const ssize_t bytes = read(ends_[0], &message, sizeof message);
    require(bytes >= 0, "read");
    return bytes > 0;
  }
  void close_write_end() noexcept {
    if (ends_[1] >= 0) {
      close(ends_[1]);
      ends_[1] = -1;
    }
  }

 private:
  std::array<int, 2> ends_{};
};

// The two ways to answer: the helper calls give(), and the thread that asks calls take().

class ByPipe {
 public:
  void prepare() {}
  void give() const { pipe_.send('r'); }
  void take() const {
    char reply = 0;
    static_cast<void>(pipe_.receive(reply));
  }

 private:
  Pipe pipe_;
};

class ByFutex {
 public:
  void prepare() { word_.store(0, std::memory_order_relaxed); }
  void give() {
    word_.store(1, std::memory_order_release);
    require(syscall(SYS_futex, &word_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0) >= 0,
            "futex");
  }
  void take() {
    while (word_.load(std::memory_order_acquire) == 0) {
      const long result = syscall(SYS_futex, &word_, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
      require(result == 0 || errno == EAGAIN || errno == EINTR, "futex");
    }
  }

 private:
  std::atomic<std::uint32_t> word_{0};
};

std::vector<int> usable_processors() {
  cpu_set_t allowed;
  require(sched_getaffinity(0, sizeof allowed, &allowed) == 0, "sched_getaffinity");
  std::vector<int> processors;
  for (int each = 0; each < CPU_SETSIZE; ++each) {
    if (CPU_ISSET(each, &allowed)) {
      processors.push_back(each);
    }
  }
  return processors;
}

void pin_this_thread(int processor) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(processor, &one);
  require(sched_setaffinity(0, sizeof one, &one) == 0, "sched_setaffinity");
}

/// Restores the affinity of this thread at its end.
class KeepAffinity {
 public:
  KeepAffinity() { require(sched_getaffinity(0, sizeof kept_, &kept_) == 0, "sched_getaffinity"); }
  ~KeepAffinity() { sched_setaffinity(0, sizeof kept_, &kept_); }
  KeepAffinity(const KeepAffinity&) = delete;
  KeepAffinity& operator=(const KeepAffinity&) = delete;

 private:
  cpu_set_t kept_{};
};

/// Answers until the pipe of requests is closed.
template <class Reply>
class Helper {
 public:
  explicit Helper(int processor)
      : thread_([this, processor] {
          pin_this_thread(processor);
          for (Request request; requests_.receive(request);) {
            reply_.give();
          }
        }) {}
  ~Helper() {
    requests_.close_write_end();
    thread_.join();
  }
  Helper(const Helper&) = delete;
  Helper& operator=(const Helper&) = delete;

  void ask() {
    reply_.prepare();
    requests_.send(Request{});
    reply_.take();
  }

 private:
  Pipe requests_;
  Reply reply_;
  std::thread thread_;
};

template <class Reply>
void round_trip(benchmark::State& state) {
  const bool apart = state.range(0) == 1;
  const std::chrono::milliseconds rest(state.range(1));
  const KeepAffinity keep;
  const std::vector<int> processors = usable_processors();
  if (apart && processors.size() < 2) {
    state.SetLabel("only one processor: not apart");
  }
  pin_this_thread(processors.front());
  Helper<Reply> helper(apart ? processors.back() : processors.front());
  helper.ask();
  for (auto _ : state) {
    if (rest.count() > 0) {
      std::this_thread::sleep_for(rest);
    }
    const auto before = std::chrono::steady_clock::now();
    helper.ask();
    state.SetIterationTime(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count());
  }
}

void cases(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"apart", "rest_ms"})->ArgsProduct({{0, 1}, {0, 1}})->UseManualTime();
}

BENCHMARK(round_trip<ByPipe>)->Apply(cases);
BENCHMARK(round_trip<ByFutex>)->Apply(cases);

}  // namespace
}  // namespace growstack::bench
