// The group scale: what a pool keeps of a burst of deep stacks, once that is over.
#include "run/group.hpp"

#include "parts/descent.hpp"
#include "run/child.hpp"
#include "run/process_memory.hpp"
#include "subjects/pool_subject.hpp"

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace growstack::compare {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kibibyte = 1024;
constexpr std::size_t mebibyte = 1024 * kibibyte;
constexpr std::size_t depth = 64 * kibibyte;
constexpr std::size_t reserve = 2 * depth;

/// What follows the burst: a stack at a time, once in a while.
constexpr auto calm = 1s;
constexpr auto pause = 1ms;

// ---- in the child -------------------------------------------------------------------------------

PoolOptions options() {
  return {.reserve = reserve,
          .guard = handler::page_size(),
          .strategy = many,
          .name = "burst",
          .retention = 100ms};
}

/// All of them deep at the same time.
std::vector<Stack> deep_stacks(StackPool& pool, std::size_t count) {
  std::vector<Stack> stacks;
  stacks.reserve(count);
  for (std::size_t each = 0; each < count; ++each) {
    Stack& stack = stacks.emplace_back(pool.acquire());
    call(stack, [&] { bench::descend(reinterpret_cast<std::uintptr_t>(stack.base()) - depth); });
  }
  return stacks;
}

void be_calm(StackPool& pool) {
  const auto end = std::chrono::steady_clock::now() + calm;
  while (std::chrono::steady_clock::now() < end) {
    pair(pool);
    std::this_thread::sleep_for(pause);
  }
}

nlohmann::json memory_now(const StackPool& pool) {
  return {{"stacks", pool.resident()}, {"process", status_bytes("VmRSS")}};
}

}  // namespace

/// {"stacks"} to {"count", "warm_size", "before", "peak", "returned", "after": {"stacks",
/// "process"}, "kept", "return_ns", "system_calls": {"count"} or {"refusal"}}.
nlohmann::json measure_burst(const nlohmann::json& request, Progress& progress) {
  progress.say("scale: a burst");
  const std::size_t count = affordable(request.at("stacks"), depth);
  StackPool pool(options());
  nlohmann::json result{{"count", count},
                        {"warm_size", options().policy.initial_commit},
                        {"before", memory_now(pool)}};
  std::vector<Stack> stacks = deep_stacks(pool, count);
  result["peak"] = memory_now(pool);
  const auto begin = std::chrono::steady_clock::now();
  stacks.clear();
  const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - begin;
  result["return_ns"] = taken.count() / static_cast<double>(count);
  result["returned"] = memory_now(pool);
  be_calm(pool);
  const PoolStatistics now = pool.statistics();
  result["kept"] = now.live + now.cached;
  result["after"] = memory_now(pool);
  result["system_calls"] = count_system_calls(pool);
  return result;
}

namespace {

// ---- in the parent ------------------------------------------------------------------------------

const std::vector<std::string> metrics{"rss_after_burst_ratio", "burst_system_calls"};

/// Against what the stacks that are live or warm may have. One at least, for the ratio: the next to
/// be acquired.
double ratio(const nlohmann::json& result) {
  const double allowed =
      std::max(1.0, result.at("kept").get<double>()) * result.at("warm_size").get<double>();
  return result.at("after").at("stacks").get<double>() / allowed;
}

void add_rows(Session& session, const std::string& subject, const nlohmann::json& result) {
  session.add({.subject = subject,
               .metric = "rss_after_burst_ratio",
               .value = ratio(result),
               .unit = "ratio",
               .note = fmt::format(
                   "resident after a burst of {} and a second, to {} a stack that is live or warm",
                   grouped(result.at("count").get<std::uint64_t>()),
                   in_units(result.at("warm_size").get<std::uint64_t>()))});
  const nlohmann::json& calls = result.at("system_calls");
  session.add(
      {.subject = subject,
       .metric = "burst_system_calls",
       .value =
           calls.contains("count") ? std::optional(calls.at("count").get<double>()) : std::nullopt,
       .unit = "system calls",
       .note = calls.contains("count")
                   ? fmt::format("pairs of {} after it in which the thread made a system call",
                                 grouped(std::uint64_t{pairs_counted}))
                   : calls.at("refusal").get<std::string>()});
}

std::string in_mebibytes(const nlohmann::json& bytes) {
  return fmt::format("{:.2f}", bytes.get<double>() / mebibyte);
}

Table table_of(const nlohmann::json& result) {
  Table table({"MiB resident", "stacks", "the process"}, 1);
  for (const auto& [moment, title] :
       {std::pair{"before", "before"}, std::pair{"peak", "all of them deep"},
        std::pair{"returned", "all given back"}, std::pair{"after", "a second later"}}) {
    const nlohmann::json& memory = result.at(moment);
    table.add({title, in_mebibytes(memory.at("stacks")), in_mebibytes(memory.at("process"))});
  }
  return table;
}

std::vector<std::string> what_to_see(const nlohmann::json& result) {
  const nlohmann::json& calls = result.at("system_calls");
  return {fmt::format("{} stacks; one that was deep was given back in {} ns.",
                      grouped(result.at("count").get<std::uint64_t>()),
                      grouped(result.at("return_ns").get<double>())),
          fmt::format("A second later {} stacks are live or warm, and {:.2f} times as much is "
                      "resident as {} for each.",
                      grouped(result.at("kept").get<std::uint64_t>()), ratio(result),
                      in_units(result.at("warm_size").get<std::uint64_t>())),
          calls.contains("count") ? fmt::format("Of the next {} pairs {} made a system call.",
                                                grouped(std::uint64_t{pairs_counted}),
                                                calls.at("count").get<unsigned>())
                                  : ""};
}

}  // namespace

void compare_burst(Session& session) {
  for (const Subject& subject :
       session.strategies([](Strategy strategy) { return strategy == many; })) {
    const Answer answer =
        subject.unsupported.empty()
            ? ask_child("burst", {{"stacks", session.stacks_at_once(100'000, 10'000)}},
                        session.progress())
            : Answer{.failure = subject.unsupported};
    session.print_title(
        "AFTER A BURST",
        fmt::format(
            "So many stacks of {} as half of the memory available has room for go down to {} and "
            "stay, then all are given back to the pool, whose retention is {} ms, and for a "
            "second one stack is acquired and given back each millisecond.",
            subject.name, in_units(depth), options().retention.count()));
    if (!answer.failure.empty()) {
      session.add_missing(subject.name, metrics, answer.whole_failure());
      session.print_sentences({answer.whole_failure()});
      continue;
    }
    add_rows(session, subject.name, answer.result);
    session.print(table_of(answer.result));
    session.print_sentences(what_to_see(answer.result));
  }
}

}  // namespace growstack::compare
