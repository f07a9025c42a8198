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

constexpr std::size_t kibibyte = 1024;
constexpr std::size_t depth = 64 * kibibyte;
constexpr std::size_t reserve = 2 * depth;
constexpr auto retention = 100ms;

/// What follows the burst: a stack at a time, once in a while.
constexpr auto calm = 1s;
constexpr auto pause = 1ms;

/// Names and titles of the moments at which the memory is looked at.
constexpr std::array moments{std::pair{"before", "before"}, std::pair{"peak", "all of them deep"},
                             std::pair{"returned", "all given back"},
                             std::pair{"after", "a second later"}};

// ---- in the child -------------------------------------------------------------------------------

/// Returns stacks that are all deep at the same time.
std::vector<Stack> deep_stacks(StackPool& pool, std::size_t count) {
  std::vector<Stack> stacks;
  stacks.reserve(count);
  for (std::size_t each = 0; each < count; ++each) {
    Stack& stack = stacks.emplace_back(pool.acquire());
    call(stack, [&] { bench::descend(bench::address_of(stack.base()) - depth); });
  }
  return stacks;
}

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

/// Answers {"stacks"} with {"count", "warm_size", moment: {"stacks", "process"}, ..., "kept",
/// "return_ns", "system_calls": {"count"} or {"refusal"}}.
nlohmann::json measure(const nlohmann::json& request, Progress&) {
  const std::size_t count = affordable(request.at("stacks"), depth);
  const PoolOptions options{.reserve = reserve,
                            .guard = handler::page_size(),
                            .strategy = many,
                            .name = "burst",
                            .retention = retention};
  StackPool pool(options);
  nlohmann::json result{
      {"count", count}, {"warm_size", options.policy.initial_commit}, {"before", memory_now(pool)}};
  std::vector<Stack> stacks = deep_stacks(pool, count);
  result["peak"] = memory_now(pool);
  const auto begin = bench::Clock::now();
  stacks.clear();
  result["return_ns"] = bench::nanoseconds_since(begin) / static_cast<double>(count);
  result["returned"] = memory_now(pool);
  be_calm(pool);
  const PoolStatistics now = pool.statistics();
  result["kept"] = now.live + now.cached;
  result["after"] = memory_now(pool);
  result["system_calls"] = count_system_calls(pool);
  return result;
}

// ---- in the parent ------------------------------------------------------------------------------

/// Returns what is resident at the end, relative to what the stacks that are live or warm may have:
/// at least one stack, the next to be acquired.
std::optional<double> ratio(const Outcome& its) {
  const auto resident = its.number("after/stacks");
  return resident ? std::optional(*resident /
                                  (std::max(1.0, *its.number("kept")) * *its.number("warm_size")))
                  : std::nullopt;
}

std::vector<Row> rows(const Outcome& its, const Outcomes&) {
  const auto calls = its.number("system_calls/count");
  return {
      {.metric = "rss_after_burst_ratio",
       .value = ratio(its),
       .unit = "ratio",
       .note = fmt::format(
           "resident after a burst of {} and a second, to {} a stack that is live or warm",
           its.cell("count", grouped), its.cell("warm_size", grouped))},
      {.metric = "burst_system_calls",
       .value = calls,
       .unit = "system calls",
       .note = calls ? fmt::format("pairs of {} after it in which the thread made a system call",
                                   grouped(std::uint64_t{pairs_counted}))
                     : its.text("system_calls/refusal")}};
}

Table table(const Outcomes& all) {
  Cells titles{"MiB resident"};
  for (const auto& [moment, title] : moments) {
    titles.emplace_back(title);
  }
  Table table(titles);
  for (const auto& [whose, heading] :
       {std::pair{"stacks", "the stacks"}, std::pair{"process", "the process"}}) {
    add_lines(table, all, heading, [whose = whose](const Outcome& its) {
      Cells cells;
      for (const auto& [moment, title] : moments) {
        cells.push_back(
            its.cell(fmt::format("{}/{}", moment, whose), decimals<2>, kibibyte * kibibyte));
      }
      return cells;
    });
  }
  add_failures(table, all);
  return table;
}

std::vector<std::string> remarks(const Outcomes& all) {
  std::vector<std::string> sentences;
  for (const Outcome& its : all) {
    if (its.ok()) {
      sentences.push_back(fmt::format(
          "{} stacks. Giving one that was deep back takes {} ns. A second later {} stacks are live "
          "or warm, and {} times as much is resident as {} bytes for each.",
          its.cell("count", grouped), its.cell("return_ns", grouped), its.cell("kept", grouped),
          cell(ratio(its), decimals<2>), its.cell("warm_size", grouped)));
      sentences.push_back(fmt::format("In {} of the next {} pairs there was a system call.",
                                      its.cell("system_calls/count", grouped),
                                      grouped(std::uint64_t{pairs_counted})));
    }
  }
  return sentences;
}

std::string what() {
  return fmt::format(
      "Stacks of a pool go down to {} and stay, as many as have room in half of the memory "
      "available. Then all are given back to the pool, whose retention is {} ms, and for a second "
      "one stack is acquired and given back each millisecond.",
      in_units(depth), retention.count());
}

std::vector<Aim> aims() {
  return {{.title = "resident after a burst, warm stacks = 1",
           .figure = value_of("rss_after_burst_ratio"),
           .markers = 1.1}};
}

const Registered burst({.name = "burst",
                        .group = "scale",
                        .title = "AFTER A BURST",
                        .what = what,
                        .subjects = the_one_for_many,
                        .ask = ask_each,
                        .measure = measure,
                        .rows = rows,
                        .table = table,
                        .remarks = remarks,
                        .aims = aims,
                        .request = [](const Session& session, const Subject&) -> nlohmann::json {
                          return {{"stacks", session.stacks_at_once(100'000, 10'000)}};
                        }});

}  // namespace
}  // namespace growstack::compare
