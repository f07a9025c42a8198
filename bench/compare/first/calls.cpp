// What does a call cost, from the first line that a newcomer writes to a switch of stacks alone?
#include "first/lines.hpp"
#include "first/timed_calls.hpp"
#include "parts/neighbour.hpp"

#include <growstack/growstack.hpp>

namespace growstack::compare {
namespace {

const std::string peer_name(boost_fixedsize_name);
const std::string in_ns = "ns for a call of a function that does nothing";

StackOptions options_of(const std::string& strategy) {
  return {.strategy = strategy_named(strategy), .name = "first"};
}

/// Times calls of threads that each make theirs.
template <unsigned threads>
Timing calls_at_once(const std::string& strategy) {
  const StackOptions options = options_of(strategy);
  const auto make = [options](unsigned times) {
    static_cast<void>(calls_with_options(options)(times));
  };
  const Timing of_each = at_once(
      threads, [make](unsigned) { make(1); }, [make](unsigned, unsigned times) { make(times); });
  return [of_each](unsigned times) { return of_each(times) / threads; };
}

Line in_threads(Line line) {
  line.in_fastest_rounds = true;
  return line;
}

void add_lines(Lines& all, const std::string& strategy) {
  const std::string warm = strategy + ", call(stack, f)";
  const std::string one = strategy + ", call(options, f), one thread";
  const std::string two = strategy + ", call(options, f), two threads at once";
  all.push_back(plain_line(warm, strategy, in_ns, "call_ns",
                           [=] { return calls_on_stack(options_of(strategy)); }));
  all.back().beside = {{{"a switch of Boost.Context, there and back"}}};
  all.push_back(
      line_with_aim(plain_line(strategy + ", call(options, f)", strategy, in_ns, "call_fresh_ns",
                               [=] { return calls_with_options(options_of(strategy)); }),
                    {{{warm}}}, 1.3));
  all.push_back(in_threads(plain_line(one, strategy, in_ns, "call_one_thread_ns",
                                      [=] { return calls_at_once<1>(strategy); })));
  // Together they are meant to make at least 1.8 times as many as one.
  all.push_back(in_threads(line_with_aim(plain_line(two, strategy, in_ns, "call_two_threads_ns",
                                                    [=] { return calls_at_once<2>(strategy); }),
                                         {{{one}}}, 1 / 1.8)));
}

Lines lines(const std::vector<std::string>& strategies) {
  Lines all{plain_line("a switch of Boost.Context, there and back", peer_name, in_ns, "switch_ns",
                       switches)};
  for (const std::string& each : strategies) {
    add_lines(all, each);
  }
  return all;
}

const Registered registered(measurement_of_lines<lines>(
    {.name = "first_calls",
     .group = "first",
     .title = "FIRST: CALLS",
     .what =
         "call(options, f) again and again with equal options, whose strategy is the one of the "
         "line and which are otherwise the defaults, and call(stack, f) on one stack. The latter "
         "is compared with a switch, but has no aim here, because it looks whether our handler "
         "is still the first; the next table has the aim. two threads at once: the time of both "
         "divided by the calls of both. It is meant to be at most 1/1.8 of that of one thread, "
         "in the fastest tenth of the rounds. The figures are medians of rounds in which all "
         "take turns.",
     .subjects = grow_by_events_and_automatic,
     .rounds = {60, 5},
     .lines = "calls"}));

Measurement with_keep_handler() {
  Measurement its = measurement_of_lines<kept_calls>(
      {.name = "first_kept_calls",
       .group = "first",
       .title = "FIRST: CALLS WITH KEEP_HANDLER",
       .what =
           "call(stack, f) in a program that is linked with growstack::keep_handler: nobody can "
           "put another handler before ours, so a call has nothing to look at.",
       .subjects = grow_by_events_and_automatic,
       .rounds = {100, 20},
       .lines = "calls"});
  its.measure = [](const nlohmann::json& request, Progress&) -> nlohmann::json {
    bench::become_neighbour("growstack_kept_calls", request);
  };
  return its;
}

const Registered kept_registered(with_keep_handler());

}  // namespace
}  // namespace growstack::compare
