// Growth: calls down to a depth on a fresh stack, with split stacks and without in turn.
#include "growth/depths.hpp"

#include "answers.hpp"
#include "parts/memory.hpp"
#include "parts/samples.hpp"
#include "recursion.hpp"

#include <growstack/growstack.hpp>

#include <chrono>
#include <vector>

namespace growstack::split_stack {
namespace {

double time_descent(const Recursion& recursion, std::size_t frames) {
  const auto before = std::chrono::steady_clock::now();
  recursion.descend(frames);
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - before)
      .count();
}

double split_once(std::size_t bytes, std::size_t frames) {
  bench::touch_and_free(bytes);
  double nanoseconds = 0;
  on_fresh_stack([&] { nanoseconds = time_descent(split, frames); });
  return nanoseconds;
}

double plain_once(std::size_t bytes, std::size_t frames) {
  Stack stack({.reserve = bytes + compare::beyond, .strategy = compare::baseline, .name = "plain"});
  bench::touch_and_free(bytes);
  return call(stack, [&] { return time_descent(plain, frames); });
}

nlohmann::json measure_depth(const compare::Depth& depth, unsigned rounds) {
  const std::size_t frames = depth.bytes / plain.bytes_per_frame();
  const unsigned stacks = compare::stacks_per_sample(depth.bytes);
  std::vector<double> split_times;
  std::vector<double> plain_times;
  for (unsigned round = 0; round <= rounds; ++round) {
    double split_sum = 0;
    double plain_sum = 0;
    for (unsigned stack = 0; stack < stacks; ++stack) {
      split_sum += split_once(depth.bytes, frames);
      plain_sum += plain_once(depth.bytes, frames);
    }
    if (round > 0) {  // the first one warms up
      split_times.push_back(split_sum / stacks);
      plain_times.push_back(plain_sum / stacks);
    }
  }
  return {{"ns", bench::median(split_times)},
          {"ratio", *bench::median_ratio(split_times, plain_times)}};
}

}  // namespace

nlohmann::json measure_growth(const nlohmann::json& request) {
  const unsigned rounds = request.at("rounds");
  bench::warm_memory(2 * compare::deepest_reserve);
  nlohmann::json results;
  for (const compare::Depth& depth : compare::depths) {
    results[depth.label] = measure_depth(depth, compare::rounds_at(depth, rounds));
  }
  return results;
}

}  // namespace growstack::split_stack
