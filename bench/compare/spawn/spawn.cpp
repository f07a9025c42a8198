// What does the whole life of a fiber cost that does next to nothing, and how much of that is its
// stack?
#include "parts/errors.hpp"
#include "run/measurement.hpp"
#include "run/timing.hpp"
#include "subjects/fibers.hpp"
#include "subjects/pools.hpp"
#include "subjects/suspended.hpp"
#include "subjects/threads.hpp"

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include <boost/context/fixedsize_stack.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>

#include <array>
#include <memory>
#include <thread>

namespace growstack::compare {
namespace {

namespace context = boost::context;

const std::string base_name(boost_pooled_name);

/// Whether a strategy is also measured without a pool: those that people use today, and the one for
/// very many stacks.
constexpr auto is_made_fresh = grows_in_huge_pages;

// ---- in the child: what is timed ----------------------------------------------------------------

std::shared_ptr<StackPool> make_pool(const std::string& strategy) {
  return std::make_shared<StackPool>(small_stacks(strategy));
}

Timing pooled_fibers(const std::string& strategy) {
  return [pool = make_pool(strategy)](unsigned times) {
    StackPool& its = *pool;
    return time_each(times, [&] {
      Stack stack = its.acquire();
      run_fiber_on(stack.base(), stack.reserved(), use_a_little);
    });
  };
}

Timing fresh_fibers(const std::string& strategy) {
  return time_on_stacks_like(small_stacks(strategy), use_a_little);
}

template <class Allocator>
Timing boost_fibers() {
  return [allocator = Allocator(pooled_reserve)](unsigned times) {
    return time_each(times, [&] { run_fiber(allocator, use_a_little); });
  };
}

void* live_on_thread(void*) {
  use_a_little();
  return nullptr;
}

Timing threads() {
  return [attributes = std::make_shared<ThreadAttributes>(pooled_reserve, handler::page_size())](
             unsigned times) {
    return time_each(times, [&] {
      pthread_t thread{};
      bench::require_no_error(pthread_create(&thread, attributes->get(), live_on_thread, nullptr),
                              "pthread_create");
      bench::require_no_error(pthread_join(thread, nullptr), "pthread_join");
    });
  };
}

Timing pairs(const std::string& strategy) {
  return [pool = make_pool(strategy)](unsigned times) {
    return time_each(times, [&] { pair(*pool); });
  };
}

template <unsigned threads>
Timing pairs_at_once(const std::string& strategy) {
  const auto pool = make_pool(strategy);
  return at_once(
      threads, [pool](unsigned) { pair(*pool); },
      [pool](unsigned, unsigned times) {
        for (unsigned each = 0; each < times; ++each) {
          pair(*pool);
        }
      });
}

Timing peer_fibers(const std::string& subject) {
  return subject == boost_fixedsize_name   ? boost_fibers<context::fixedsize_stack>()
         : subject == boost_pooled_name    ? boost_fibers<context::pooled_fixedsize_stack>()
         : subject == boost_protected_name ? boost_fibers<context::protected_fixedsize_stack>()
                                           : threads();
}

// ---- in the child: rounds -----------------------------------------------------------------------

/// One thing that a subject does. A subject that has pools does several.
struct Activity : Timed {
  Timing (*prepare)(const std::string& subject) = nullptr;
};

std::vector<Activity> all_activities(const nlohmann::json& subjects) {
  std::vector<Activity> all;
  for (const std::string subject : subjects) {
    if (!strategy_from_name(subject)) {
      all.push_back({{{subject, subject}}, peer_fibers});
      continue;
    }
    all.push_back({{{subject, subject}}, pooled_fibers});
    all.push_back({{{subject + ", pairs", subject}}, pairs});
    all.push_back({{{subject + ", one thread", subject}}, pairs_at_once<1>});
    all.push_back({{{subject + ", two threads", subject}}, pairs_at_once<2>});
    if (is_strategy(subject, is_made_fresh)) {
      all.push_back({{{subject + ", fresh", subject}}, fresh_fibers});
    }
  }
  all.push_back({{{again(base_name), base_name}}, peer_fibers});
  return all;
}

void warm_up(Activity& activity) {
  activity.time = activity.prepare(activity.subject);
  activity.choose_times();
}

/// Returns how many times as much two threads do in the same time as one, in the fastest tenth of
/// the rounds: whenever something else has a processor, two threads share the other one, which has
/// nothing to do with the pool.
std::optional<double> gain(const Activity* one, const Activity* two) {
  constexpr double fastest = 0.1;
  if (one == nullptr || two == nullptr || std::thread::hardware_concurrency() < 2) {
    return std::nullopt;
  }
  return 2 * bench::percentile(one->nanoseconds, fastest) /
         bench::percentile(two->nanoseconds, fastest);
}

nlohmann::json result_of(const std::vector<Activity>& all, const std::string& subject) {
  const Activity& base = *find(all, base_name);
  nlohmann::json result = times(*find(all, subject), base);
  if (result.contains("refusal")) {
    return result;
  }
  if (const Activity* const twin = find(all, again(subject))) {
    set(result, "noise", bench::median_ratio(twin->nanoseconds, base.nanoseconds));
  }
  const auto does = [&](const char* what) {
    const Activity* const its = find(all, subject + what);
    return its != nullptr && its->refusal.empty() ? its : nullptr;
  };
  if (const Activity* const its = does(", fresh")) {
    result["fresh_ns"] = bench::median(its->nanoseconds);
  }
  if (const Activity* const its = does(", pairs")) {
    result["pair_ns"] = bench::median(its->nanoseconds);
    set(result, "threads_ratio", gain(does(", one thread"), does(", two threads")));
    StackPool pool(small_stacks(subject));
    pair(pool);
    result["system_calls"] = count_system_calls(pool);
  }
  return result;
}

/// Answers for each name {"ns", "ratio"} or {"refusal"}. A strategy also has "pair_ns",
/// "threads_ratio" and "system_calls": {"count"} or {"refusal"}; some have "fresh_ns", and the base
/// has "noise".
nlohmann::json measure(const nlohmann::json& request, Progress& progress) {
  raise_limits_for_stacks(pooled_reserve);
  std::vector<Activity> all = all_activities(request.at("subjects"));
  Turns turns(progress);
  turns.take(1, "spawn:", all, warm_up);
  turns.take(request.at("rounds"), "spawn:", all, [](Activity& activity) {
    activity.nanoseconds.push_back(activity.time(activity.times));
  });
  Results results;
  for (const std::string subject : request.at("subjects")) {
    results.of({subject, subject}).update(result_of(all, subject));
  }
  return results.all();
}

// ---- in the parent ------------------------------------------------------------------------------

std::string why_no_threads() {
  return std::thread::hardware_concurrency() < 2
             ? "this machine has one processor: threads only take turns"
             : "it failed";
}

std::vector<Row> rows(const Outcome& its, const Outcomes&) {
  std::vector<Row> rows{
      its.row("spawn_ns", "ns", "ns", "a fiber's stack, its switch in and out, 256 bytes written"),
      its.row("spawn_ratio", "ratio", "ratio", "to " + base_name,
              base_name + " could not be measured")};
  if (its.name == base_name) {
    rows.push_back(its.row("spawn_noise", "noise", "ratio", "the same measured twice"));
  }
  if (is_strategy(its.name, is_made_fresh)) {
    rows.push_back(its.row("spawn_fresh_ns", "fresh_ns", "ns",
                           "the same on a Stack made for it, beside another one", "it failed"));
  }
  if (its.subject.strategy) {
    rows.push_back(
        its.row("spawn_pair_ns", "pair_ns", "ns", "acquire() and the return alone", "it failed"));
    rows.push_back(its.row("spawn_threads_ratio", "threads_ratio", "ratio",
                           "pairs a second by two threads together, to those by one",
                           why_no_threads()));
    rows.push_back(its.row("spawn_system_calls", "system_calls/count", "system calls",
                           "pairs of 1,000 in which the thread made a system call",
                           its.text("system_calls/refusal")));
  }
  return rows;
}

constexpr std::array columns{Column{"a fiber", "ns", grouped},
                             Column{"boost_pooled = 1", "ratio", short_number},
                             Column{"again", "noise", short_number},
                             Column{"made fresh", "fresh_ns", grouped},
                             Column{"a pair", "pair_ns", short_number},
                             Column{"two threads", "threads_ratio", short_number},
                             Column{"system calls", "system_calls/count", grouped}};

std::vector<Aim> aims() {
  const Noise noise = noise_in(base_name, "spawn_noise");
  const auto one_by_two = [](const Rows& rows, const std::string& subject) {
    const auto gain = rows.value(subject, "spawn_threads_ratio");
    return gain ? std::optional(1 / *gain) : std::nullopt;
  };
  return {{"spawn, boost_pooled_fixedsize = 1", value_of("spawn_ratio"), for_all(1.10), noise},
          {"spawn, boost_protected_fixedsize = 1",
           ratio_to(std::string(boost_protected_name), "spawn_ns"), for_all(0.01), noise},
          // Two threads are meant to do at least 1.8 times as much as one.
          {"pairs by one thread, by two together = 1", one_by_two, for_all(1 / 1.8)}};
}

const Registered registered(
    {.name = "spawn",
     .group = "spawn",
     .title = "SPAWN",
     .what =
         "A fiber of Boost.Context gets a warm stack of 64 KiB, with a guard page where there are "
         "guards, writes 256 bytes there, ends, and the stack goes back: to a StackPool, or to a "
         "peer's allocator. A thread is created and joined. again: measured twice; smaller "
         "differences mean nothing. made fresh: on a Stack made for the fiber. A pair is acquire() "
         "and the return alone. two threads: how many times as many pairs they do together as one "
         "does, in the fastest tenth of the rounds; not on one processor. system calls: in so many "
         "of 1,000 pairs the thread made one. The figures are medians of rounds in which all take "
         "turns. What this leaves out: all fibers are shallow, so no stack grows, and each "
         "stack goes back at once to the thread that has it in its cache; the group first goes "
         "deeper, keeps stacks, passes them to other threads, and makes them without another one "
         "beside.",
     .subjects = pooled_and_peers,
     .base = boost_pooled_name,
     .rounds = {100, 20},
     .measure = measure,
     .rows = rows,
     .lines = "ns",
     .columns = columns,
     .aims = aims});

}  // namespace
}  // namespace growstack::compare
