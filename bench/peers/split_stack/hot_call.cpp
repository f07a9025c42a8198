// The hot split: a call that does not fit on its caller's piece of stack gets another piece each
// time, and gives it back each time. In a loop that costs far more than the call alone. The depth
// decides where it happens.
#include "answers.hpp"
#include "parts/samples.hpp"
#include "recursion.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <vector>

namespace growstack::split_stack {
namespace {

constexpr std::size_t calls = 2000;
constexpr std::size_t beyond_first_piece = 4096;  // small frames
constexpr unsigned tries = 5;  // the quickest counts, because an interruption is no hot split

/// Times calls. It is compiled without split stacks but runs on one. That is safe because a piece
/// has 1 KiB more than its functions know of, and this function needs less.
void time_calls(const Recursion& recursion, double& nanoseconds) {
  nanoseconds = std::numeric_limits<double>::infinity();
  for (unsigned each = 0; each < tries; ++each) {
    const auto before = std::chrono::steady_clock::now();
    recursion.call_often(calls);
    const std::chrono::duration<double, std::nano> taken =
        std::chrono::steady_clock::now() - before;
    nanoseconds = std::min(nanoseconds, taken.count() / static_cast<double>(calls));
  }
}

/// Times calls at depths that are one small frame apart, from `first` on: over more than 16 KiB.
std::vector<double> scan(const Recursion& recursion, std::size_t first) {
  constexpr std::size_t depths = 600;
  struct Visit {
    const Recursion& recursion;
    double nanoseconds;
  } visit{recursion, 0};
  std::vector<double> found;
  found.reserve(depths);
  for (std::size_t frames = first; frames < first + depths; ++frames) {
    recursion.at_depth(
        frames,
        [](void* argument) {
          auto& it = *static_cast<Visit*>(argument);
          time_calls(it.recursion, it.nanoseconds);
        },
        &visit);
    found.push_back(visit.nanoseconds);
  }
  return found;
}

}  // namespace

nlohmann::json measure_hot_call(const nlohmann::json&) {
  std::vector<double> with;
  std::vector<double> without;
  on_fresh_stack([&] {
    without = scan(plain, 0);  // this code has only the first piece, and does not leave it
    with = scan(split, beyond_first_piece);
  });
  const double usual = bench::median(with);
  const auto hot =
      std::count_if(with.begin(), with.end(), [&](double each) { return each > 3 * usual; });
  return {{"median_ns", usual},
          {"worst_ns", bench::percentile(with, 1)},
          {"share", static_cast<double>(hot) / static_cast<double>(with.size())},
          {"plain_median_ns", bench::median(without)},
          {"plain_worst_ns", bench::percentile(without, 1)}};
}

}  // namespace growstack::split_stack
