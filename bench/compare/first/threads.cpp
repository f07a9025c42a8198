// What does a thread cost whose stack grows, or that may run on stacks that grow?
#include "first/lines.hpp"
#include "first/workload.hpp"
#include "parts/errors.hpp"

#include <growstack/growstack.hpp>

#include <memory>
#include <thread>

namespace growstack::compare {
namespace {

const std::string peer_name(glibc_thread_name);
const std::string in_ns = "ns for a thread that is created, does nothing, and is joined";

void do_nothing() {}

Timing threads_of(const std::string& strategy) {
  const StackOptions options{.strategy = strategy_named(strategy), .name = "first"};
  return [options](unsigned times) {
    return time_each(times, [&] { Thread(options, do_nothing).join(); });
  };
}

Timing threads_on_pool(const std::string& strategy) {
  return [pool = std::make_shared<StackPool>(usual_pool(strategy))](unsigned times) {
    return time_each(times, [&] { Thread(pool->acquire(), do_nothing).join(); });
  };
}

Timing threads_of_std(void (*body)()) {
  return [body](unsigned times) { return time_each(times, [&] { std::thread(body).join(); }); };
}

Lines lines(const std::vector<std::string>& strategies) {
  const Beside beside{{{"std::thread"}}};
  Lines all{plain_line("std::thread", peer_name, in_ns, "thread_ns",
                       [] { return threads_of_std(do_nothing); }),
            line_with_aim(
                plain_line("std::thread, attached", peer_name, in_ns, "thread_attached_ns",
                           [] {
                             return threads_of_std([] {
                               bench::require_no_error(handler::attach_thread(), "attach_thread");
                             });
                           }),
                beside, 1.05)};
  for (const std::string& each : strategies) {
    all.push_back(line_with_aim(
        plain_line(each + ", Thread", each, in_ns, "thread_ns", [=] { return threads_of(each); }),
        beside, 1.15));
    all.push_back(
        line_with_aim(plain_line(each + ", on a pool's stack", each, in_ns, "thread_pooled_ns",
                                 [=] { return threads_on_pool(each); }),
                      beside, 1.10));
  }
  return all;
}

const Registered registered(measurement_of_lines<lines>(
    {.name = "first_threads",
     .group = "first",
     .title = "FIRST: THREADS",
     .what = "A growstack::Thread with the usual options, which runs on the kept stack of the last "
             "one; "
             "one on a stack of a pool; and a std::thread that calls attach_thread(). All are "
             "compared with a std::thread. glibc keeps the stacks of threads that have ended, and "
             "gives them to the next ones. The figures are medians of rounds in which all take "
             "turns.",
     .subjects = grow_by_events_and_automatic,
     .rounds = {100, 10},
     .lines = "threads"}));

}  // namespace
}  // namespace growstack::compare
