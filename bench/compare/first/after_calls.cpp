// How much memory stays when a program that made deep calls makes none any more?
#include "first/lines.hpp"
#include "first/workload.hpp"
#include "run/process_memory.hpp"

#include <growstack/growstack.hpp>

#include <chrono>
#include <limits>
#include <memory>
#include <thread>

namespace growstack::compare {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t depth = mebibyte;
/// How long the library keeps a stack that no call uses.
constexpr std::chrono::milliseconds interval = 1s;
constexpr double allowed = 128.0 * kibibyte;

/// What this process has, in bytes.
struct Holdings {
  double resident;
  double charged;
  double committed;
};

Holdings holdings() {
  return {.resident = static_cast<double>(status_bytes("VmRSS")),
          .charged =
              static_cast<double>(residency(0, std::numeric_limits<std::uintptr_t>::max()).charged),
          .committed = static_cast<double>(process_counters().committed)};
}

/// Returns how much more there is three intervals after so many calls than before them. Before
/// them, one call has started what the library needs, and its stack has been given back.
Holdings more_after(unsigned calls, const std::string& strategy) {
  const StackOptions options{.strategy = strategy_named(strategy), .name = "first"};
  call(options, [] { go_down(4 * kibibyte); });
  trim();
  const Holdings before = holdings();
  for (unsigned each = 0; each < calls; ++each) {
    call(options, [] { go_down(depth); });
  }
  std::this_thread::sleep_for(3 * interval + 200ms);
  const Holdings after = holdings();
  return {.resident = after.resident - before.resident,
          .charged = after.charged - before.charged,
          .committed = after.committed - before.committed};
}

void add_lines(Lines& all, const std::string& strategy) {
  const auto more = std::make_shared<std::optional<Holdings>>();  // measured by who comes first
  const auto add = [&](const char* what, const char* metric, double Holdings::*member) {
    Line line =
        line_with_aim(plain_line(strategy + ", " + what, strategy, "bytes more than before", metric,
                                 [=] {
                                   return [=](unsigned calls) {
                                     if (!*more) {
                                       *more = more_after(calls, strategy);
                                     }
                                     return (**more).*member;
                                   };
                                 }),
                      {.plus = allowed}, 1.0);
    line.unit = "bytes";
    line.fixed_times = {10'000, 500};
    all.push_back(std::move(line));
  };
  add("resident", "after_calls_resident_bytes", &Holdings::resident);
  add("charged by the kernel", "after_calls_charged_bytes", &Holdings::charged);
  add("committed by stacks", "after_calls_committed_bytes", &Holdings::committed);
}

Lines lines(const std::vector<std::string>& strategies) {
  Lines all;
  for (const std::string& each : strategies) {
    add_lines(all, each);
  }
  return all;
}

/// Chooses the strategy of StackOptions, and Strategy::automatic.
std::vector<Subject> subjects(const Session& session) {
  std::vector<Subject> all = grow_by_events_and_automatic(session);
  std::erase_if(all, [](const Subject& each) {
    return each.strategy != StackOptions().strategy && each.strategy != Strategy::automatic;
  });
  return all;
}

const Registered registered(measurement_of_lines<lines>(
    {.name = "first_after_calls",
     .group = "first",
     .title = "FIRST: AFTER THE CALLS",
     .what =
         "10,000 times (500 with --quick) call(options, f) goes 1 MiB deep, and then the program "
         "makes no call for three seconds, which is three times as long as the library keeps a "
         "stack for the next call. What the process has then, compared with 128 KiB. resident is "
         "VmRSS. charged counts against the commit limit (VmFlags ac in smaps).",
     .subjects = subjects,
     .rounds = {1, 1},
     .lines = "three seconds later"}));

}  // namespace
}  // namespace growstack::compare
