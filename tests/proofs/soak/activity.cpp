#include "proofs/soak/activity.hpp"

#include "proofs/soak/activities/list.hpp"
#include "proofs/soak/counts.hpp"
#include "proofs/soak/last_words.hpp"
#include "proofs/soak/world.hpp"

#include <algorithm>
#include <array>
#include <exception>
#include <iterator>
#include <vector>

namespace growstack::soak {
namespace {

constexpr std::array all{
    Activity{"stacks", 400, true, use_a_stack},
    Activity{"kept", 300, true, call_on_kept_stack},
    Activity{"recursion", 60, true, recurse_anywhere},
    Activity{"fibers", 600, true, use_a_fiber},
    Activity{"threads", 40, true, run_a_thread},
    Activity{"attach", 20, false, attach_anew},
    Activity{"pools", 20, true, change_pools},
    Activity{"trims", 40, true, trim_something},
    Activity{"looks", 20, true, look_around},
    Activity{"visits", 200, true, visit_a_stack},
    Activity{"mappings", 20, false, map_something},
    Activity{"regions", 30, true, use_a_region},
    Activity{"refusals", 20, true, ask_for_too_much},
    Activity{"signals", 60, true, send_signals},
    Activity{"timers", 40, true, wait_for_timer},
    Activity{"forks", 4, true, fork_a_child},
    Activity{"vforks", 20, true, vfork_a_child},
    Activity{"reports", 2, true, overflow_in_a_child},
};

/// The activities that the settings allow, or those of them that may run at depth.
std::vector<Activity> allowed(bool at_depth) {
  std::vector<Activity> chosen;
  std::copy_if(all.begin(), all.end(), std::back_inserter(chosen), [&](const Activity& each) {
    return world->settings.with(each.name) && (each.at_depth || !at_depth);
  });
  return chosen;
}

const Activity& choose(Random& random, const std::vector<Activity>& from) {
  std::size_t sum = 0;
  for (const Activity& each : from) {
    sum += each.weight;
  }
  std::size_t place = random.below(sum);
  for (const Activity& each : from) {
    if (place < each.weight) {
      return each;
    }
    place -= each.weight;
  }
  return from.back();
}

void run(Worker& worker, const Activity& activity) {
  ++worker.nesting;
  worker.note(activity.name.data(), static_cast<std::size_t>(worker.nesting));
  try {
    activity.run(worker);
  } catch (const std::exception& error) {
    wrong("%s: %s", activity.name.data(), error.what());
  }
  --worker.nesting;
  counts.operations.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

std::span<const Activity> activities() { return all; }

void do_something(Worker& worker) {
  static const std::vector<Activity> from = allowed(false);
  run(worker, choose(worker.random, from));
}

void do_something_at_depth(Worker& worker) {
  static const std::vector<Activity> from = allowed(true);
  constexpr int most_nested = 4;
  if (worker.nesting < most_nested && worker.random.one_in(4) && !from.empty()) {
    run(worker, choose(worker.random, from));
  }
}

}  // namespace growstack::soak
