// What does a pool keep of a burst of deep stacks, once the burst is over?
#include "parts/clock.hpp"
#include "parts/descent.hpp"
#include "run/measurement.hpp"
#include "run/process_memory.hpp"
#include "subjects/pools.hpp"

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

namespace growstack::compare {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t depth = 64 * kibibyte;
constexpr std::size_t reserve = 2 * depth;
constexpr auto retention = 100ms;

/// What follows the burst: a stack at a time, once in a while.
constexpr auto calm = 1s;
constexpr auto pause = 1ms;

// ---- in the child -------------------------------------------------------------------------------

void be_calm(StackPool& pool) {
  const auto end = bench::Clock::now() + calm;
  while (bench::Clock::now() < end) {
    pair(pool);
    std::this_thread::sleep_for(pause);
  }
}

nlohmann::json memory_now(const StackPool& pool) {
  return {{"stacks", pool.resident()}, {"process", status_bytes("VmRSS")}};
}

/// Answers {"stacks", "strategy"} with {"count", "warm_size", "before", "peak", "returned",
/// "after": {"stacks", "process"}, "kept", "ratio", "return_ns", "system_calls": {"count"} or
/// {"refusal"}}.
nlohmann::json measure(const nlohmann::json& request, Progress&) {
  const std::size_t count = affordable(request.at("stacks"), depth);
  const PoolOptions options{.reserve = reserve,
                            .guard = handler::page_size(),
                            .strategy = strategy_named(request.at("strategy")),
                            .name = "burst",
                            .retention = retention};
  StackPool pool(options);
  nlohmann::json result{
      {"count", count}, {"warm_size", options.policy.initial_commit}, {"before", memory_now(pool)}};
  std::vector<Stack> stacks;
  stacks.reserve(count);
  while (stacks.size() < count) {
    Stack& stack = stacks.emplace_back(pool.acquire());
    call(stack, [&] { bench::descend(bench::address_of(stack.base()) - depth); });
  }
  result["peak"] = memory_now(pool);
  const auto begin = bench::Clock::now();
  stacks.clear();
  result["return_ns"] = bench::nanoseconds_since(begin) / static_cast<double>(count);
  result["returned"] = memory_now(pool);
  be_calm(pool);
  const PoolStatistics now = pool.statistics();
  const std::size_t kept = now.live + now.cached;
  // At least one stack may have memory: the next to be acquired.
  const auto allowed = std::max<std::size_t>(1, kept) * options.policy.initial_commit;
  result["kept"] = kept;
  result["after"] = memory_now(pool);
  result["ratio"] = result["after"]["stacks"].get<double>() / static_cast<double>(allowed);
  result["system_calls"] = count_system_calls(pool);
  return result;
}

// ---- in the parent ------------------------------------------------------------------------------

std::vector<Row> rows(const Outcome& its, const Outcomes&) {
  return {its.row("rss_after_burst_ratio", "ratio", "ratio",
                  fmt::format("resident after a burst of {} and a second, to {} bytes a stack that "
                              "is live or warm",
                              its.cell("count", grouped), its.cell("warm_size", grouped))),
          its.row("burst_system_calls", "system_calls/count", "system calls",
                  "pairs of 1,000 after it in which the thread made a system call",
                  its.text("system_calls/refusal"))};
}

constexpr std::array columns{Column{"stacks", "count", grouped},
                             Column{"before", "before/stacks", decimals<2>, mebibyte},
                             Column{"all deep", "peak/stacks", decimals<2>, mebibyte},
                             Column{"given back", "returned/stacks", decimals<2>, mebibyte},
                             Column{"1 s later", "after/stacks", decimals<2>, mebibyte},
                             Column{"process", "after/process", decimals<2>, mebibyte},
                             Column{"kept", "kept", grouped},
                             Column{"allowed = 1", "ratio", decimals<2>},
                             Column{"ns to give back", "return_ns", grouped},
                             Column{"system calls", "system_calls/count", grouped}};

const Registered registered(
    {.name = "burst",
     .group = "scale",
     .title = "AFTER A BURST",
     .what =
         "Stacks of a pool go down to 64 KiB and stay, as many as have room in half of the memory "
         "available. Then all are given back to the pool, whose retention is 100 ms, and for a "
         "second one stack is acquired and given back each millisecond. MiB: resident in stacks, "
         "and after the second in the whole process. kept: the stacks that are live or warm then; "
         "each of them may have what the policy commits at first (allowed = 1). system calls: in "
         "so many of the next 1,000 pairs the thread made one.",
     .subjects = those_for_many,
     .ask = ask_each,
     .request = [](const Session& session, const Subject& subject) -> nlohmann::json {
       return {{"strategy", subject.name}, {"stacks", session.stacks_at_once(100'000, 10'000)}};
     },
     .measure = measure,
     .rows = rows,
     .lines = "MiB",
     .columns = columns,
     .aims = []() -> std::vector<Aim> {
       return {{"resident after a burst, warm stacks = 1", value_of("rss_after_burst_ratio"),
                for_markers(1.1)}};
     }});

}  // namespace
}  // namespace growstack::compare
