// What does a stack cost that one thread acquires and another one gives back?
#include "first/lines.hpp"
#include "first/workload.hpp"

#include <growstack/stack_pool.hpp>

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace growstack::compare {
namespace {

const std::string peer_name(boost_pooled_name);
const std::string in_ns = "ns for each";

/// Passes things from one thread to another one. Both sleep while there is nothing to do, as in
/// most programs.
template <class Thing>
class Queue {
 public:
  void put(Thing thing) {
    std::unique_lock lock(mutex_);
    has_room_.wait(lock, [&] { return its_.size() < places; });
    its_.push_back(std::move(thing));
    lock.unlock();
    has_some_.notify_one();
  }

  [[nodiscard]] Thing take() {
    std::unique_lock lock(mutex_);
    has_some_.wait(lock, [&] { return !its_.empty(); });
    Thing thing = std::move(its_.front());
    its_.pop_front();
    lock.unlock();
    has_room_.notify_one();
    return thing;
  }

 private:
  static constexpr std::size_t places = 64;

  std::mutex mutex_;
  std::condition_variable has_some_;
  std::condition_variable has_room_;
  std::deque<Thing> its_;
};

/// Passes things from one thread to another one. Both stay awake, and take no lock.
template <class Thing>
class Ring {
 public:
  void put(Thing thing) {
    const std::size_t at = put_.load(std::memory_order_relaxed);
    wait_until([&] { return at - taken_.load(std::memory_order_acquire) < places; });
    its_[at % places].emplace(std::move(thing));
    put_.store(at + 1, std::memory_order_release);
  }

  [[nodiscard]] Thing take() {
    const std::size_t at = taken_.load(std::memory_order_relaxed);
    wait_until([&] { return at < put_.load(std::memory_order_acquire); });
    Thing thing = std::move(*its_[at % places]);
    its_[at % places].reset();
    taken_.store(at + 1, std::memory_order_release);
    return thing;
  }

 private:
  static constexpr std::size_t places = 64;
  static constexpr std::size_t cache_line = 64;

  template <class Condition>
  static void wait_until(const Condition& condition) {
    constexpr unsigned patience = 1000;  // then somebody else may have the other's processor
    for (unsigned tries = 0; !condition(); ++tries) {
      if (tries > patience) {
        std::this_thread::yield();
      }
    }
  }

  std::array<std::optional<Thing>, places> its_{};
  alignas(cache_line) std::atomic<std::size_t> put_ = 0;
  alignas(cache_line) std::atomic<std::size_t> taken_ = 0;
};

/// Times a thread that puts what `make` returns, and another one that takes it and drops it.
template <template <class> class AnyQueue, class Make>
Timing passing(const Make& make) {
  using Thing = decltype(make());
  const auto queue = std::make_shared<AnyQueue<Thing>>();
  return at_once(
      2, [](unsigned) {},
      [queue, make](unsigned thread, unsigned times) {
        for (unsigned each = 0; each < times; ++each) {
          if (thread == 0) {
            queue->put(make());
          } else {
            static_cast<void>(queue->take());
          }
        }
      });
}

Line in_fastest_rounds(Line line) {
  line.in_fastest_rounds = true;
  return line;
}

/// Adds the lines of one kind of queue.
template <template <class> class AnyQueue>
void add(Lines& all, const std::vector<std::string>& strategies, const std::string& through,
         const std::string& in_metrics) {
  const std::string base = "a pointer through " + through;
  all.push_back(
      in_fastest_rounds(plain_line(base, peer_name, in_ns, "queue" + in_metrics + "_ns", [] {
        return passing<AnyQueue>([] { return static_cast<void*>(nullptr); });
      })));
  for (const std::string& each : strategies) {
    const auto prepare = [=] {
      const auto pool = std::make_shared<StackPool>(usual_pool(each));
      return passing<AnyQueue>([pool] { return pool->acquire(); });
    };
    all.push_back(
        in_fastest_rounds(line_with_aim(plain_line(each + ", a stack through " + through, each,
                                                   in_ns, "handoff" + in_metrics + "_ns", prepare),
                                        {{{base}}}, 1.5)));
  }
}

Lines lines(const std::vector<std::string>& strategies) {
  Lines all;
  add<Queue>(all, strategies, "a queue", "");
  add<Ring>(all, strategies, "a ring", "_ring");
  return all;
}

const Registered registered(measurement_of_lines<lines>(
    {.name = "first_handoff",
     .group = "first",
     .title = "FIRST: STACKS THAT CHANGE THREADS",
     .what =
         "One thread acquires stacks of a pool and passes them to another one, which gives them "
         "back to the pool. Both are busy with that, each on its processor. A queue has 64 places, "
         "a "
         "lock, and two condition variables. A ring has 64 places and no lock, and who has to "
         "wait there does not sleep. Both are compared with a pointer that goes the same way. "
         "Nothing runs on the stacks. The ratios are those of the fastest tenth of the rounds.",
     .subjects = grow_by_events,
     .rounds = {60, 5},
     .lines = "one to the other"}));

}  // namespace
}  // namespace growstack::compare
