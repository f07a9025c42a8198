// What does ensure_stack cost where there is room?
#include "first/lines.hpp"

#include <growstack/ensure_stack.hpp>

namespace growstack::compare {
namespace {

const std::string peer_name(glibc_thread_name);
const std::string in_ns = "ns for a call";

[[gnu::noinline]] void callee() { asm volatile("" : : : "memory"); }

Timing plain_calls() {
  return [](unsigned times) { return time_each(times, [] { callee(); }); };
}

Timing ensured_calls() {
  return
      [](unsigned times) { return time_each(times, [] { ensure_stack(64 * kibibyte, callee); }); };
}

Lines lines(const std::vector<std::string>& strategies) {
  const std::string base = "a plain call";
  Lines all{plain_line(base, peer_name, in_ns, "plain_call_ns", plain_calls)};
  for (const std::string& each : strategies) {
    all.push_back(line_with_aim(
        plain_line("ensure_stack(64 KiB, f)", each, in_ns, "ensure_ns", ensured_calls),
        {{{base}}, 2}, 1.0));
  }
  return all;
}

const Registered registered(measurement_of_lines<lines>(
    {.name = "first_ensure",
     .group = "first",
     .title = "FIRST: IS THERE ROOM?",
     .what =
         "ensure_stack(64 KiB, f) on a thread's stack that has room, so that it calls f there. f "
         "does nothing and is not inlined. It is compared with a plain call and 2 ns.",
     .subjects = automatic_alone,
     .rounds = {100, 20},
     .lines = "calls"}));

}  // namespace
}  // namespace growstack::compare
