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
    Activity{"stacks", "calls functions on stacks that are new, used, or from a pool", 400, true,
             use_a_stack},
    Activity{"calls", "calls functions with options instead of a stack", 300, true,
             call_with_options},
    Activity{"recursion", "recurses with ensure_stack", 60, true, recurse_anywhere},
    Activity{"fibers", "resumes fibers, in any thread", 600, true, use_a_fiber},
    Activity{"threads", "starts threads whose own stack grows", 40, true, run_a_thread},
    Activity{"attach", "attaches threads again", 20, false, attach_anew},
    Activity{"pools", "makes and ends pools while their stacks are out", 20, true, change_pools},
    Activity{"trims", "gives memory back", 40, true, trim_something},
    Activity{"statistics", "asks for the figures of pools and process", 20, true, look_around},
    Activity{"touches", "touches stacks from threads that run elsewhere", 200, true, touch_a_stack},
    Activity{"mappings", "maps memory where stacks were", 20, false, map_something},
    Activity{"regions", "uses blocks of a memory_resource", 30, true, use_a_region},
    Activity{"refusals", "asks for more than there is", 20, true, ask_for_too_much},
    Activity{"signals", "sends signals to other threads", 60, true, send_signals},
    Activity{"timers", "waits for timers that send a signal", 40, true, wait_for_timer},
    Activity{"forks", "has forked children go on with all stacks", 4, true, fork_a_child},
    Activity{"vforks", "has vforked children use the stack of their parent", 20, true,
             vfork_a_child},
    Activity{"overflows", "has children overflow a stack, and reads their reports", 2, true,
             overflow_in_a_child},
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
