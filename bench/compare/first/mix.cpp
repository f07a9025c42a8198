// What does a pool cost whose fibers are shallow but for one in a hundred, and how much memory does
// it keep?
#include "first/lines.hpp"
#include "first/ring.hpp"

#include <chrono>

namespace growstack::compare {
namespace {

using namespace std::chrono_literals;

const std::string base_name(boost_pooled_name);
const std::string in_ns = "ns for a fiber";

// ---- times --------------------------------------------------------------------------------------

template <class Source>
Timing time_blocks(Source source, bool mixed) {
  return [ring = std::make_shared<Ring<Source>>(std::move(source)), mixed](unsigned times) {
    return time_each(times, [&] { ring->run_block(mixed); }) / block;
  };
}

std::shared_ptr<StackPool> pool_of(const std::string& strategy) {
  return std::make_shared<StackPool>(usual_pool(strategy));
}

void add_lines(Lines& all, const std::string& strategy) {
  const std::string warm = strategy + ", all shallow";
  const std::string grown = strategy + ", fresh and deep";
  all.push_back(plain_line(warm, strategy, in_ns, "mix_shallow_ns",
                           [=] { return time_blocks(FromPool(pool_of(strategy), false), false); }));
  all.push_back(plain_line(grown, strategy, in_ns, "mix_fresh_ns", [=] {
    return time_on_stacks_like(usual_pool(strategy), [] { go_down(deep); });
  }));
  all.push_back(line_with_aim(
      plain_line(strategy + ", mixed", strategy, in_ns, "mix_ns",
                 [=] { return time_blocks(FromPool(pool_of(strategy), false), true); }),
      {{{warm, 0.99}, {grown, 0.01}}}, 1.2));
  all.push_back(line_with_aim(
      plain_line(strategy + ", deep by name", strategy, in_ns, "mix_named_ns",
                 [=] { return time_blocks(FromPool(pool_of(strategy), true), true); }),
      {{{base_name + ", mixed"}}}, 2.0));
}

Lines times(const std::vector<std::string>& strategies) {
  Lines all{plain_line(base_name + ", mixed", base_name, in_ns, "mix_ns",
                       [] { return time_blocks(FromBoost(), true); })};
  for (const std::string& each : strategies) {
    add_lines(all, each);
  }
  for (Line& each : all) {
    each.with_rare_costs = true;
  }
  return all;
}

// ---- memory -------------------------------------------------------------------------------------

/// Returns a line whose figure is no time, so nothing chooses how often it is done in a round.
Line measured_once(Line line, const char* unit) {
  line.unit = unit;
  line.fixed_times = {1, 1};
  return line;
}

/// Returns what the stacks of a mix have in memory, divided by what their fibers need. It looks
/// after each tenth of a block, because only some stacks of the ring are deep at a time.
double resident_in_mix(StackPool& pool, Ring<FromPool>& ring) {
  constexpr std::size_t looks = 50;
  constexpr std::size_t between = block / 10;
  static const std::array<bool, block> which = which_are_deep();
  double has = 0;
  double needs = 0;
  for (std::size_t look = 0, at = 0; look < looks; ++look) {
    for (std::size_t each = 0; each < between; ++each, at = (at + 1) % block) {
      ring.run_one(which[at]);
    }
    has += static_cast<double>(pool.resident());
    needs += static_cast<double>(live_stacks * 8 * kibibyte + ring.deep_ones() * deep);
  }
  return has / needs;
}

Timing mixed_residency(const std::string& strategy) {
  const auto pool = pool_of(strategy);
  const auto ring = std::make_shared<Ring<FromPool>>(FromPool(pool, false));
  for (unsigned blocks = 0; blocks < 10; ++blocks) {
    ring->run_block(true);
  }
  return [pool, ring](unsigned) { return resident_in_mix(*pool, *ring); };
}

/// Returns what a pool has in memory after a shallow load of three intervals, before which came a
/// deep one or none.
Timing residency_after(bool deep_before, const std::string& strategy) {
  constexpr auto interval = 100ms;
  return [=](unsigned) {
    PoolOptions options = usual_pool(strategy);
    options.retention = interval;
    const auto pool = std::make_shared<StackPool>(options);
    Ring<FromPool> ring(FromPool(pool, false));
    for (std::size_t each = 0; deep_before && each < 4 * live_stacks; ++each) {
      ring.run_one(true);
    }
    const auto begin = bench::Clock::now();
    while (bench::Clock::now() - begin < 3 * interval) {
      ring.run_block(false);
    }
    return static_cast<double>(pool->resident());
  };
}

Lines memory(const std::vector<std::string>& strategies) {
  const std::string of_need = "resident, 8 KiB for each stack and 1 MiB for each deep one = 1";
  const std::string in_bytes = "resident bytes of the pool";
  Lines all;
  for (const std::string& each : strategies) {
    all.push_back(measured_once(
        line_with_aim(plain_line(each + ", mixed", each, of_need, "mix_resident_ratio",
                                 [=] { return mixed_residency(each); }),
                      {.plus = 1}, 1.2),
        "ratio"));
  }
  for (const std::string& each : strategies) {
    const auto after = [&](bool deep_before, const char* name, const char* metric) {
      return measured_once(plain_line(each + name, each, in_bytes, metric,
                                      [=] { return residency_after(deep_before, each); }),
                           "bytes");
    };
    all.push_back(after(false, ", always shallow", "shallow_resident_bytes"));
    all.push_back(line_with_aim(after(true, ", deep before", "after_deep_resident_bytes"),
                                {{{each + ", always shallow"}}}, 1.1));
  }
  return all;
}

const Registered times_registered(measurement_of_lines<times>(
    {.name = "first_mix",
     .group = "first",
     .title = "FIRST: ONE FIBER IN A HUNDRED GOES DEEP",
     .what =
         "64 stacks of one pool live at a time. The oldest one is given back, the next is "
         "acquired, and a fiber runs there to its end: 99 of 100 go 4 KiB deep, and one, at "
         "random but the same in every run, 1 MiB. mixed: all stacks have the pool's name. It is "
         "compared with 0.99 times all shallow and 0.01 times fresh and deep (a Stack that is "
         "made for its fiber, grows to 1 MiB, and ends). deep by name: the deep ones are acquired "
         "under a name of their own. It is compared with the same on boost_pooled_fixedsize, "
         "whose stacks keep all that they ever touched. The figures are means of 500 fibers, and "
         "the medians of rounds in which all take turns.",
     .subjects = grow_by_events,
     .rounds = {40, 4},
     .lines = "64 stacks live"}));

const Registered memory_registered(measurement_of_lines<memory>(
    {.name = "first_memory",
     .group = "first",
     .title = "FIRST: WHAT A POOL KEEPS",
     .what =
         "mixed: the load of the table above; what live and idle stacks have in memory, at 50 "
         "moments. always shallow: all fibers go 4 KiB deep for three intervals of 100 ms "
         "(PoolOptions::retention). deep before: the same, but before that the 64 stacks went 1 "
         "MiB deep.",
     .subjects = grow_by_events,
     .rounds = {5, 1},
     .lines = "64 stacks live"}));

}  // namespace
}  // namespace growstack::compare
