#include "first/timed_calls.hpp"

#include <growstack/call.hpp>

#include <boost/context/fiber.hpp>
#include <boost/context/fixedsize_stack.hpp>

#include <memory>
#include <utility>

namespace growstack::compare {
namespace {

void do_nothing() { asm volatile("" : : : "memory"); }

}  // namespace

Timing calls_with_options(const StackOptions& options) {
  return [options](unsigned times) { return time_each(times, [&] { call(options, do_nothing); }); };
}

Timing calls_on_stack(const StackOptions& options) {
  return [stack = std::make_shared<Stack>(options)](unsigned times) {
    Stack& its = *stack;
    return time_each(times, [&] { call(its, do_nothing); });
  };
}

Timing switches() {
  using boost::context::fiber;
  const auto there = std::make_shared<fiber>(std::allocator_arg, boost::context::fixedsize_stack(),
                                             [](fiber&& back) -> fiber {
                                               for (;;) {
                                                 back = std::move(back).resume();
                                               }
                                             });
  return [there](unsigned times) {
    fiber& its = *there;
    return time_each(times, [&] { its = std::move(its).resume(); });
  };
}

Lines kept_calls(const std::vector<std::string>& strategies) {
  const std::string in_ns = "ns, with keep_handler";
  const std::string base = "a switch of Boost.Context, there and back";
  Lines all{plain_line(base, boost_fixedsize_name, in_ns, "switch_kept_ns", switches)};
  for (const std::string& each : strategies) {
    const StackOptions options{.strategy = *strategy_from_name(each), .name = "first"};
    all.push_back(line_with_aim(plain_line(each + ", call(stack, f)", each, in_ns, "call_kept_ns",
                                           [=] { return calls_on_stack(options); }),
                                {{{base}}}, 2.0));
  }
  return all;
}

}  // namespace growstack::compare
