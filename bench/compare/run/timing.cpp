#include "run/timing.hpp"

#include "parts/at_once.hpp"

#include <algorithm>
#include <stdexcept>
#include <thread>
#include <utility>

namespace growstack::compare {
namespace {

/// Returns the nanoseconds of so many. It does them three times, so that other work of the machine
/// does not decide how often something is done in a round.
double time_of(const Timing& time, unsigned times) {
  const auto once = [&] { return time(times) * times; };
  return std::min({once(), once(), once()});
}

}  // namespace

Timing at_once(unsigned threads, std::function<void(unsigned thread)> prepare,
               std::function<void(unsigned thread, unsigned times)> work) {
  if (std::thread::hardware_concurrency() < threads) {
    throw std::runtime_error("this machine has too few processors: threads only take turns");
  }
  return [threads, prepare = std::move(prepare), work = std::move(work)](unsigned times) {
    constexpr unsigned longer = 5;
    const auto step = [&](unsigned thread) {
      bench::stay_on_processor(thread);
      prepare(thread);
    };
    const auto all = [&](unsigned thread) { work(thread, longer * times); };
    return bench::time_at_once(threads, step, all) / (longer * times);
  };
}

void Timed::choose_times() {
  constexpr double round_nanoseconds = 2e6;
  constexpr unsigned most_times = 1'000'000;
  constexpr unsigned factor = 4;
  static_cast<void>(time(1));
  times = 1;
  double taken = time_of(time, times);
  while (times < most_times && taken * factor < round_nanoseconds) {
    times *= factor;
    taken = time_of(time, times);
  }
  times = std::max(
      1U, static_cast<unsigned>(times * std::min(1.0 * factor, round_nanoseconds / taken)));
}

}  // namespace growstack::compare
