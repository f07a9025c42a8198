// The measuring half of the growth group, in a process of its own.
#include "group.hpp"
#include "growth.hpp"

#include "parts/descent.hpp"
#include "parts/memory.hpp"
#include "parts/samples.hpp"

#include <growstack/growstack.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <numeric>
#include <optional>
#include <random>

namespace growstack::compare {
namespace {

unsigned rounds_at(const Depth& depth, unsigned rounds) { return std::max(1U, rounds / depth.fewer); }

struct Contender {
  std::string name;
  Strategy strategy;
  std::vector<double> nanoseconds{};
  std::uint32_t faults = 0;
  std::string refusal{};
};

/// One fresh stack to the depth, in nanoseconds. Making and releasing it is not in the time; the switch to it neither.
double grow_once(Contender& contender, std::size_t bytes) {
  Stack stack({.reserve = bytes + beyond, .strategy = contender.strategy, .name = "growth"});
  const std::uintptr_t lowest = reinterpret_cast<std::uintptr_t>(stack.base()) - bytes;
  bench::touch_and_free(bytes);
  const auto taken = call(stack, [&] {
    const auto before = std::chrono::steady_clock::now();
    bench::descend(lowest);
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - before);
  });
  contender.faults = stack.counters().growth_faults;
  return taken.count();
}

/// Shallow stacks by the dozen: the kernel puts off work and does it every few dozen pages, which a single shallow stack
/// meets or does not, and a median of such times jumps.
unsigned stacks_per_sample(std::size_t bytes) {
  constexpr std::size_t enough = 1 * mebibyte;
  constexpr std::size_t most = 16;
  return static_cast<unsigned>(std::clamp<std::size_t>(enough / bytes, 1, most));
}

void try_growing(Contender& contender, std::size_t bytes, bool counts) {
  if (!contender.refusal.empty()) {
    return;
  }
  try {
    const unsigned stacks = stacks_per_sample(bytes);
    double sum = 0;
    for (unsigned each = 0; each < stacks; ++each) {
      sum += grow_once(contender, bytes);
    }
    if (counts) {
      contender.nanoseconds.push_back(sum / stacks);
    }
  } catch (const std::exception& error) {
    contender.refusal = error.what();
  }
}

/// Everybody's turn, in another order each round: with a fixed rotation somebody would always run after the same neighbour,
/// and find the kernel's lists of free pages as that one leaves them.
void run_round(std::vector<Contender>& contenders, std::size_t bytes, std::mt19937& order) {
  std::vector<std::size_t> turns(contenders.size());
  std::iota(turns.begin(), turns.end(), std::size_t{0});
  std::shuffle(turns.begin(), turns.end(), order);
  for (const std::size_t turn : turns) {
    try_growing(contenders[turn], bytes, true);
  }
}

/// The median of the rounds' own ratios: a machine that is slower for a while is so for both.
std::optional<double> ratio_between(const std::vector<double>& times, const std::vector<double>& base) {
  if (times.empty() || times.size() != base.size()) {
    return std::nullopt;
  }
  std::vector<double> ratios(times.size());
  std::transform(times.begin(), times.end(), base.begin(), ratios.begin(), std::divides<>());
  return bench::median(ratios);
}

nlohmann::json result_of(const Contender& contender, const Contender& base) {
  if (!contender.refusal.empty()) {
    return {{"refusal", contender.refusal}};
  }
  nlohmann::json result{{"ns", bench::median(contender.nanoseconds)}, {"faults", contender.faults}};
  if (const auto ratio = ratio_between(contender.nanoseconds, base.nanoseconds)) {
    result["ratio"] = *ratio;
  }
  return result;
}

}  // namespace

/// {"subjects": [...], "rounds": n} to {subject: {depth: {"ns", "faults", "ratio"} or {"refusal"}}}. The baseline is one of
/// them.
nlohmann::json measure_growth(const nlohmann::json& request, Progress& progress) {
  bench::raise_stack_limit(deepest_reserve);
  const unsigned rounds = request.at("rounds");
  std::mt19937 order;  // the same orders every time
  nlohmann::json results;
  for (const Depth& depth : depths) {
    std::vector<Contender> contenders;
    for (const std::string name : request.at("subjects")) {
      contenders.push_back({.name = name, .strategy = name == again_name ? baseline : strategy_named(name)});
    }
    bench::warm_memory(2 * deepest_reserve);
    for (Contender& contender : contenders) {
      try_growing(contender, depth.bytes, false);
    }
    const unsigned rounds_here = rounds_at(depth, rounds);
    for (unsigned round = 0; round < rounds_here; ++round) {
      progress.say(fmt::format("growth: {:>6} deep, {} rounds,", depth.label, rounds_here), round, rounds_here);
      run_round(contenders, depth.bytes, order);
    }
    const auto base = std::find_if(contenders.begin(), contenders.end(),
                                   [](const Contender& each) { return each.name == name(baseline); });
    for (const Contender& contender : contenders) {
      results[contender.name][depth.label] = result_of(contender, *base);
    }
  }
  return results;
}

}  // namespace growstack::compare
