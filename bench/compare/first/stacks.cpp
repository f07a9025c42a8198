// What does it cost to make a stack and to end it, where nobody keeps one in a pool?
#include "first/lines.hpp"
#include "first/workload.hpp"
#include "subjects/fibers.hpp"
#include "subjects/suspended.hpp"

#include <growstack/growstack.hpp>
#include <growstack/stack_allocator.hpp>

#include <boost/context/protected_fixedsize_stack.hpp>

namespace growstack::compare {
namespace {

using boost::context::protected_fixedsize_stack;

const std::string peer_name(boost_protected_name);
const std::string of_stacks = "ns for a stack that is made and ended";
const std::string of_fibers = "ns for a fiber that writes 256 bytes";

Timing stacks(const std::string& strategy) {
  const StackOptions options{
      .reserve = first_reserve, .strategy = strategy_named(strategy), .name = "first"};
  return
      [options](unsigned times) { return time_each(times, [&] { const Stack stack(options); }); };
}

Timing peer_stacks() {
  return [](unsigned times) {
    protected_fixedsize_stack allocator(first_reserve);
    return time_each(times, [&] {
      auto stack = allocator.allocate();
      allocator.deallocate(stack);
    });
  };
}

template <class Allocator>
Timing fibers(const Allocator& allocator) {
  return [allocator](unsigned times) {
    return time_each(times, [&] { run_fiber(allocator, use_a_little); });
  };
}

Timing fibers_on(const std::string& strategy) {
  return fibers(stack_allocator(StackOptions{.reserve = first_reserve,
                                             .policy = GrowthPolicy::pooled(),
                                             .strategy = strategy_named(strategy),
                                             .name = "fiber"}));
}

Lines lines(const std::vector<std::string>& strategies) {
  const std::string peer_stack = peer_name + ", a stack";
  const std::string peer_fiber = peer_name + ", a fiber";
  Lines all{plain_line(peer_stack, peer_name, of_stacks, "stack_ns", peer_stacks)};
  for (const std::string& each : strategies) {
    // userfaultfd needs a call for the pages of each new stack, which nobody else makes: no aim.
    const double at_most = each.starts_with("userfault") || each == "automatic" ? 0 : 1.0;
    all.push_back(line_with_aim(
        plain_line(each + ", Stack", each, of_stacks, "stack_ns", [=] { return stacks(each); }),
        {{{peer_stack}}}, at_most));
  }
  all.push_back(plain_line(peer_fiber, peer_name, of_fibers, "allocator_fiber_ns",
                           [] { return fibers(protected_fixedsize_stack(first_reserve)); }));
  for (const std::string& each : strategies) {
    all.push_back(line_with_aim(plain_line(each + ", stack_allocator", each, of_fibers,
                                           "allocator_fiber_ns", [=] { return fibers_on(each); }),
                                {{{peer_fiber}}}, 1.0));
  }
  return all;
}

const Registered registered(measurement_of_lines<lines>(
    {.name = "first_stacks",
     .group = "first",
     .title = "FIRST: STACKS THAT ARE MADE FOR ONE USE",
     .what =
         "A Stack of 8 MiB is made and ended, and nothing runs there. It is the only one at the "
         "time. A fiber of Boost.Context gets a stack of growstack::stack_allocator, writes 256 "
         "bytes and ends. Both are compared with protected_fixedsize_stack, which maps a stack, "
         "protects a guard page, and unmaps it. The figures are medians of rounds in which all "
         "take turns.",
     .subjects = grow_by_events_and_automatic,
     .rounds = {100, 10},
     .lines = "stacks"}));

}  // namespace
}  // namespace growstack::compare
