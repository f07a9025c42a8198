#include "parts/at_once.hpp"

#include <algorithm>
#include <chrono>
#include <future>
#include <latch>
#include <system_error>
#include <vector>

namespace growstack::bench {
namespace {

using Clock = std::chrono::steady_clock;

struct Span {
  Clock::time_point begin;
  Clock::time_point end;
};

Span take_part(unsigned thread, const ThreadStep& prepare, const ThreadStep& work, std::latch& all_are_here) {
  try {
    prepare(thread);
  } catch (...) {
    all_are_here.count_down();
    throw;
  }
  all_are_here.arrive_and_wait();
  Span span{.begin = Clock::now(), .end = {}};
  work(thread);
  span.end = Clock::now();
  return span;
}

/// Should one not start, those that did must not wait for it.
std::vector<std::future<Span>> start_threads(unsigned threads, const ThreadStep& prepare, const ThreadStep& work,
                                             std::latch& all_are_here) {
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

}  // namespace growstack::bench
