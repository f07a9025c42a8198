// The group spawn, measured: what a fiber's whole life costs, and what of that is its stack.
#include "parts/at_once.hpp"
#include "parts/samples.hpp"
#include "parts/turns.hpp"
#include "run/group.hpp"
#include "spawn/spawn.hpp"
#include "subjects/borrowed_stack.hpp"
#include "subjects/pool_subject.hpp"

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include <boost/context/fiber.hpp>
#include <boost/context/fixedsize_stack.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <system_error>
#include <utility>

namespace growstack::compare {
namespace {

namespace context = boost::context;

// ---- contenders ---------------------------------------------------------------------------------

/// Does it so often, and tells the nanoseconds of each.
using Timing = std::function<double(unsigned times)>;

struct Contender {
  std::string name;
  std::function<Timing()> prepare;
  Timing time{};
  unsigned times = 0;  // in a round
  std::vector<double> nanoseconds{};
  std::string refusal{};
};

template <class Body>
double time_each(unsigned times, const Body& body) {
  const auto before = std::chrono::steady_clock::now();
  for (unsigned each = 0; each < times; ++each) {
    body();
  }
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - before)
             .count() /
         times;
}

context::fiber live(context::fiber&& back) {
  use_a_little();
  return std::move(back);
}

// A switch leaves the processor's predictions of returns behind, so each return after it costs:
// everybody's fiber lives in as many functions.

[[gnu::always_inline]] inline void run_fiber_on(Stack& stack) {
  context::stack_context whole;
  whole.sp = stack.base();
  whole.size = stack.reserved();
  context::fiber there(std::allocator_arg, context::preallocated(whole.sp, whole.size, whole),
                       BorrowedStack{}, live);
  there = std::move(there).resume();
}

std::shared_ptr<StackPool> make_pool(const std::string& strategy) {
  return std::make_shared<StackPool>(small_stacks(strategy));
}

Timing pooled(const std::string& strategy) {
  return [pool = make_pool(strategy)](unsigned times) {
    StackPool& its = *pool;
    return time_each(times, [&] {
      Stack stack = its.acquire();
      run_fiber_on(stack);
    });
  };
}

/// Beside another one of its kind, as in a program that has stacks: the address space is there
/// already.
Timing fresh(const std::string& strategy) {
  const PoolOptions alike = small_stacks(strategy);
  const StackOptions options{.reserve = alike.reserve,
                             .guard = alike.guard,
                             .policy = alike.policy,
                             .strategy = alike.strategy,
                             .name = alike.name};
  return [options, beside = std::make_shared<Stack>(options)](unsigned times) {
    return time_each(times, [&] {
      Stack stack(options);
      run_fiber_on(stack);
    });
  };
}

/// With one of Boost's allocators, which those with a pool share with all their copies.
template <class Allocator>
Timing boost_fiber() {
  return [allocator = Allocator(pooled_reserve)](unsigned times) {
    return time_each(times, [&] {
      context::fiber there(std::allocator_arg, Allocator(allocator), live);
      there = std::move(there).resume();
    });
  };
}

void require(int error, const char* call) {
  if (error != 0) {
    throw std::system_error(error, std::generic_category(), call);
  }
}

void* live_on_thread(void*) {
  use_a_little();
  return nullptr;
}

Timing thread() {
  pthread_attr_t attributes;
  require(pthread_attr_init(&attributes), "pthread_attr_init");  // holds nothing that must be freed
  require(pthread_attr_setstacksize(&attributes, pooled_reserve), "pthread_attr_setstacksize");
  require(pthread_attr_setguardsize(&attributes, handler::page_size()),
          "pthread_attr_setguardsize");
  return [attributes](unsigned times) {
    return time_each(times, [&] {
      pthread_t thread{};
      require(pthread_create(&thread, &attributes, live_on_thread, nullptr), "pthread_create");
      require(pthread_join(thread, nullptr), "pthread_join");
    });
  };
}

Timing pairs(const std::string& strategy) {
  return [pool = make_pool(strategy)](unsigned times) {
    return time_each(times, [&] { pair(*pool); });
  };
}

/// The time of one pair of each thread, all of them busy with theirs. Each on a processor of its
/// own: left to itself the scheduler may take longer than a round to part them.
Timing pairs_at_once(const std::string& strategy, unsigned threads) {
  return [pool = make_pool(strategy), threads](unsigned times) {
    constexpr unsigned longer = 5;  // a processor that slept is slow for its first milliseconds
    const auto warm_up = [&](unsigned thread) {
      bench::stay_on_processor(thread);
      pair(*pool);
    };
    const auto work = [&](unsigned) {
      for (unsigned each = 0; each < longer * times; ++each) {
        pair(*pool);
      }
    };
    return bench::time_at_once(threads, warm_up, work) / (longer * times);
  };
}

Timing peer_named(const std::string& subject) {
  return subject == boost_fixedsize_name   ? boost_fiber<context::fixedsize_stack>()
         : subject == boost_pooled_name    ? boost_fiber<context::pooled_fixedsize_stack>()
         : subject == boost_protected_name ? boost_fiber<context::protected_fixedsize_stack>()
                                           : thread();
}

// ---- the names of what a subject does -----------------------------------------------------------

std::string again(const std::string& subject) { return subject + ", again"; }
std::string as_fresh(const std::string& subject) { return subject + ", fresh"; }
std::string as_pairs(const std::string& subject) { return subject + ", pairs"; }
std::string at_once(const std::string& subject, unsigned threads) {
  return subject + ", threads: " + std::to_string(threads);
}

void add_pooled(std::vector<Contender>& contenders, const std::string& subject) {
  contenders.push_back({.name = subject, .prepare = [subject] { return pooled(subject); }});
  contenders.push_back(
      {.name = as_pairs(subject), .prepare = [subject] { return pairs(subject); }});
  for (const unsigned threads : {1U, 2U}) {
    contenders.push_back({.name = at_once(subject, threads), .prepare = [subject, threads] {
                            return pairs_at_once(subject, threads);
                          }});
  }
  if (is_made_fresh(subject)) {
    contenders.push_back(
        {.name = as_fresh(subject), .prepare = [subject] { return fresh(subject); }});
  }
}

/// The base takes part twice.
std::vector<Contender> contenders_of(const nlohmann::json& subjects) {
  std::vector<Contender> contenders;
  for (const std::string subject : subjects) {
    if (strategy_from_name(subject)) {
      add_pooled(contenders, subject);
    } else {
      contenders.push_back({.name = subject, .prepare = [subject] { return peer_named(subject); }});
    }
  }
  const std::string base(boost_pooled_name);
  contenders.push_back({.name = again(base), .prepare = [base] { return peer_named(base); }});
  return contenders;
}

const Contender* named(const std::vector<Contender>& contenders, std::string_view name) {
  const auto found = std::find_if(contenders.begin(), contenders.end(),
                                  [&](const Contender& each) { return each.name == name; });
  return found == contenders.end() ? nullptr : &*found;
}

/// Nanoseconds of so many. More than once: other work of the machine's must not tell how often
/// something is done.
double time_of(const Contender& contender, unsigned times) {
  const auto once = [&] { return contender.time(times) * times; };
  return std::min({once(), once(), once()});
}

/// And finds out how often it can be done in the time of a round: the slow ones not so often.
void warm_up(Contender& contender) {
  constexpr double round_nanoseconds = 2e6;
  constexpr unsigned most_times = 1'000'000;
  constexpr unsigned factor = 4;
  contender.time = contender.prepare();
  unsigned times = 16;
  double nanoseconds = time_of(contender, times);
  while (times < most_times && nanoseconds * factor < round_nanoseconds) {
    times *= factor;
    nanoseconds = time_of(contender, times);
  }
  contender.times = std::max(
      1U, static_cast<unsigned>(times * std::min(1.0 * factor, round_nanoseconds / nanoseconds)));
}

// ---- results ------------------------------------------------------------------------------------

nlohmann::json count_system_calls_of(const std::string& strategy) {
  StackPool pool(small_stacks(strategy));
  pair(pool);
  return count_system_calls(pool);
}

/// How many times as much two threads do in the same time as one. Of the fastest tenth of the
/// rounds: whenever something else has a processor, two threads share the other one, which has
/// nothing to do with the pool.
std::optional<double> gain(const Contender& one, const Contender& two) {
  constexpr double fastest = 0.1;
  if (!one.refusal.empty() || !two.refusal.empty()) {
    return std::nullopt;
  }
  return 2 * bench::percentile(one.nanoseconds, fastest) /
         bench::percentile(two.nanoseconds, fastest);
}

nlohmann::json result_of(const std::vector<Contender>& contenders, const std::string& subject) {
  const Contender& its = *named(contenders, subject);
  if (!its.refusal.empty()) {
    return {{"refusal", its.refusal}};
  }
  nlohmann::json result{{"ns", bench::median(its.nanoseconds)}};
  const auto add = [&](const char* member, const std::optional<double>& value) {
    if (value) {
      result[member] = *value;
    }
  };
  const std::vector<double>& base = named(contenders, boost_pooled_name)->nanoseconds;
  add("ratio", bench::median_ratio(its.nanoseconds, base));
  if (const Contender* const twin = named(contenders, again(subject))) {
    add("noise", bench::median_ratio(twin->nanoseconds, base));
  }
  if (const Contender* const each = named(contenders, as_fresh(subject));
      each != nullptr && each->refusal.empty()) {
    add("fresh_ns", bench::median(each->nanoseconds));
  }
  if (const Contender* const each = named(contenders, as_pairs(subject));
      each != nullptr && each->refusal.empty()) {
    add("pair_ns", bench::median(each->nanoseconds));
    add("threads_ratio",
        gain(*named(contenders, at_once(subject, 1)), *named(contenders, at_once(subject, 2))));
    result["system_calls"] = count_system_calls_of(subject);
  }
  return result;
}

}  // namespace

/// {"subjects", "rounds"} to {subject: {"ns", "ratio"} or {"refusal"}}; a strategy's has "pair_ns",
/// "threads_ratio" and "system_calls": {"count"} or {"refusal"} as well, some "fresh_ns", and that
/// of the base "noise".
nlohmann::json measure_spawn(const nlohmann::json& request, Progress& progress) {
  raise_limits_for_stacks(pooled_reserve);
  const unsigned rounds = request.at("rounds");
  std::mt19937 order;  // the same orders every time
  std::vector<Contender> contenders = contenders_of(request.at("subjects"));
  bench::take_turns(contenders, order, warm_up);
  for (unsigned round = 0; round < rounds; ++round) {
    progress.say("spawn:", round, rounds);
    bench::take_turns(contenders, order, [](Contender& contender) {
      contender.nanoseconds.push_back(contender.time(contender.times));
    });
  }
  nlohmann::json results;
  for (const std::string subject : request.at("subjects")) {
    results[subject] = result_of(contenders, subject);
  }
  return results;
}

}  // namespace growstack::compare
