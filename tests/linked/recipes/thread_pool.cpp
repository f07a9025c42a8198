// Recipe: a thread pool whose tasks may recurse deep, and whose idle threads give back what they do
// not need.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/descend.hpp"

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <stop_token>
#include <utility>
#include <vector>

namespace {

class ThreadPool {
 public:
  ThreadPool(std::size_t threads, const growstack::StackOptions& options) {
    for (std::size_t i = 0; i < threads; ++i) {
      threads_.emplace_back(options, [this](const std::stop_token& stop) { work(stop); });
    }
  }

  template <class F>
  auto submit(F f) -> std::future<std::invoke_result_t<F>> {
    auto task = std::make_shared<std::packaged_task<std::invoke_result_t<F>()>>(std::move(f));
    auto result = task->get_future();
    {
      const std::lock_guard lock(mutex_);
      tasks_.emplace_back([task] { (*task)(); });
    }
    there_is_work_.notify_one();
    return result;
  }

  [[nodiscard]] std::size_t resident() const {
    std::size_t bytes = 0;
    for (const growstack::Thread& thread : threads_) {
      bytes += thread.stack().resident();
    }
    return bytes;
  }

 private:
  void work(const std::stop_token& stop) {
    while (true) {
      std::function<void()> task;
      {
        std::unique_lock lock(mutex_);
        if (!there_is_work_.wait(lock, stop, [this] { return !tasks_.empty(); })) {
          return;
        }
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
      // After a shallow task this costs next to nothing. After a deep one its memory goes back to
      // the system.
      static_cast<void>(growstack::Stack::trim_current());
    }
  }

  std::mutex mutex_;
  std::condition_variable_any there_is_work_;
  std::deque<std::function<void()>> tasks_;
  // The last member, because its threads are joined before the other members are destroyed.
  std::vector<growstack::Thread> threads_;
};

}  // namespace

TEST_CASE("a thread pool runs deep tasks, and gives back what only these tasks needed") {
  constexpr std::size_t MiB = std::size_t{1} << 20;
  ThreadPool pool(2, {.reserve = 256 * MiB, .name = "worker"});
  std::vector<std::future<std::size_t>> results;
  for (int i = 0; i < 100; ++i) {
    const std::size_t depth = i % 10 == 0 ? 20 * MiB : 4096;
    results.push_back(pool.submit([depth] { return growstack::testing::descend(depth); }));
  }
  for (auto& result : results) {
    CHECK(result.get() == 0);
  }
  // The thread that took the last deep task may still be trimming. When both have had another task,
  // it has finished.
  pool.submit([] {}).get();
  pool.submit([] {}).get();
  CHECK(pool.resident() < 30 * MiB);
}
