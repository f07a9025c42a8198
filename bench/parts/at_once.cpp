#include "parts/at_once.hpp"

#include "parts/clock.hpp"
#include "parts/errors.hpp"

#include <sched.h>

#include <algorithm>
#include <cstddef>
#include <future>
#include <latch>
#include <system_error>
#include <thread>
#include <vector>

namespace growstack::bench {
namespace {

struct Span {
  Clock::time_point begin;
  Clock::time_point end;
};

Span take_part(unsigned thread, const ThreadStep& prepare, const ThreadStep& work,
               std::latch& all_are_here) {
  try {
    prepare(thread);
  } catch (...) {
    all_are_here.count_down();
    throw;
  }
  all_are_here.count_down();
  // Stays awake, because waking up would take some threads longer than others.
  while (!all_are_here.try_wait()) {
    std::this_thread::yield();
  }
  Span span{.begin = Clock::now(), .end = {}};
  work(thread);
  span.end = Clock::now();
  return span;
}

/// Starts all threads. If one cannot start, the others do not wait for it.
std::vector<std::future<Span>> start_threads(unsigned threads, const ThreadStep& prepare,
                                             const ThreadStep& work, std::latch& all_are_here) {
  std::vector<std::future<Span>> shares;
  for (unsigned thread = 0; thread < threads; ++thread) {
    try {
      shares.push_back(std::async(std::launch::async, [thread, &prepare, &work, &all_are_here] {
        return take_part(thread, prepare, work, all_are_here);
      }));
    } catch (const std::system_error&) {
      all_are_here.count_down(threads - thread);
      throw;
    }
  }
  return shares;
}

constexpr pid_t this_thread = 0;

void bind_to(std::size_t processor) {
  cpu_set_t chosen;
  CPU_ZERO(&chosen);
  CPU_SET(processor, &chosen);
  require(sched_setaffinity(this_thread, sizeof chosen, &chosen) == 0, "sched_setaffinity");
}

}  // namespace

double time_at_once(unsigned threads, const ThreadStep& prepare, const ThreadStep& work) {
  std::latch all_are_here(threads);
  Span whole{.begin = Clock::time_point::max(), .end = Clock::time_point::min()};
  for (std::future<Span>& share : start_threads(threads, prepare, work, all_are_here)) {
    const Span span = share.get();
    whole = {.begin = std::min(whole.begin, span.begin), .end = std::max(whole.end, span.end)};
  }
  return std::chrono::duration<double, std::nano>(whole.end - whole.begin).count();
}

void stay_on_processor(unsigned number) {
  cpu_set_t usable;
  require(sched_getaffinity(this_thread, sizeof usable, &usable) == 0, "sched_getaffinity");
  unsigned left = number % static_cast<unsigned>(CPU_COUNT(&usable));
  std::size_t processor = 0;
  while (!CPU_ISSET(processor, &usable) || left-- > 0) {
    ++processor;
  }
  bind_to(processor);
}

void stay_on_this_processor() { bind_to(static_cast<std::size_t>(std::max(0, sched_getcpu()))); }

}  // namespace growstack::bench
