// The group scale: fibers that were deep once and wait now, and what trimming below their stack
// pointers gives back.
#include "run/group.hpp"

#include "parts/descent.hpp"
#include "parts/samples.hpp"
#include "run/child.hpp"
#include "run/process_memory.hpp"
#include "scale/suspended.hpp"
#include "subjects/pool_subject.hpp"

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <string>
#include <system_error>
#include <vector>

namespace growstack::compare {
namespace {

constexpr std::size_t depth = std::size_t{128} * 1024;
constexpr std::size_t reserve = 2 * depth;

// ---- in the child -------------------------------------------------------------------------------

struct IdleFiber {
  Stack stack;
  Suspended code;
};

/// Deep once, and waiting near its base now.
IdleFiber idle_fiber(StackPool& pool) {
  Stack stack = pool.acquire();
  Suspended code(stack.base(), stack.reserved());
  code.run([&] { bench::descend(reinterpret_cast<std::uintptr_t>(stack.base()) - depth); });
  return {.stack = std::move(stack), .code = code};
}

/// Pages of each.
nlohmann::json resident_pages(const std::vector<IdleFiber>& fibers) {
  std::vector<double> pages;
  for (const IdleFiber& fiber : fibers) {
    pages.push_back(static_cast<double>(fiber.stack.resident() / handler::page_size()));
  }
  return {{"mean",
           std::accumulate(pages.begin(), pages.end(), 0.0) / static_cast<double>(pages.size())},
          {"worst", *std::max_element(pages.begin(), pages.end())}};
}

void trim(IdleFiber& fiber) {
  if (const std::error_code error = fiber.stack.trim_below(fiber.code.stack_pointer())) {
    throw std::system_error(error, "trim_below");
  }
}

}  // namespace

/// {"fibers"} to {"count", "before", "after": {"mean", "worst"}, "trim_ns"}.
nlohmann::json measure_idle_fibers(const nlohmann::json& request, Progress& progress) {
  progress.say("scale: idle fibers");
  const std::size_t count = affordable(request.at("fibers"), depth);
  StackPool pool(
      {.reserve = reserve, .guard = handler::page_size(), .strategy = many, .name = "idle"});
  std::vector<IdleFiber> fibers;
  fibers.reserve(count);
  for (std::size_t each = 0; each < count; ++each) {
    fibers.push_back(idle_fiber(pool));
  }
  nlohmann::json result{{"count", count}, {"before", resident_pages(fibers)}};
  const auto begin = std::chrono::steady_clock::now();
  std::for_each(fibers.begin(), fibers.end(), trim);
  const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - begin;
  result["trim_ns"] = taken.count() / static_cast<double>(count);
  result["after"] = resident_pages(fibers);
  return result;
}

namespace {

// ---- in the parent ------------------------------------------------------------------------------

const std::vector<std::string> metrics{"rss_idle_fiber_pages_before", "rss_idle_fiber_pages"};

double pages(const nlohmann::json& result, const char* moment, const char* which) {
  return result.at(moment).at(which).get<double>();
}

void add_rows(Session& session, const std::string& subject, const nlohmann::json& result) {
  const std::string whose =
      fmt::format("the most that one of {} has", grouped(result.at("count").get<std::uint64_t>()));
  session.add({.subject = subject,
               .metric = "rss_idle_fiber_pages_before",
               .value = pages(result, "before", "worst"),
               .unit = "pages",
               .note = whose + ", untrimmed"});
  session.add({.subject = subject,
               .metric = "rss_idle_fiber_pages",
               .value = pages(result, "after", "worst"),
               .unit = "pages",
               .note = whose + " after trim_below() of its stack pointer"});
}

Table table_of(const nlohmann::json& result) {
  Table table({"pages resident", "mean", "most"}, 1);
  for (const auto& [moment, title] :
       {std::pair{"before", "waiting"}, std::pair{"after", "trimmed"}}) {
    table.add({title, fmt::format("{:.2f}", pages(result, moment, "mean")),
               fmt::format("{:.0f}", pages(result, moment, "worst"))});
  }
  return table;
}

}  // namespace

void compare_idle_fibers(Session& session) {
  for (const Subject& subject :
       session.strategies([](Strategy strategy) { return strategy == many; })) {
    const Answer answer =
        subject.unsupported.empty()
            ? ask_child("idle_fibers", {{"fibers", session.stacks_at_once(10'000, 1000)}},
                        session.progress())
            : Answer{.failure = subject.unsupported};
    session.print_title(
        "IDLE FIBERS",
        fmt::format(
            "Fibers on stacks of {}, each of which was down at {} once and waits near its base "
            "now; then Stack::trim_below() of the stack pointer with which it waits.",
            subject.name, in_units(depth)));
    if (!answer.failure.empty()) {
      session.add_missing(subject.name, metrics, answer.whole_failure());
      session.print_sentences({answer.whole_failure()});
      continue;
    }
    add_rows(session, subject.name, answer.result);
    session.print(table_of(answer.result));
    session.print_sentences({fmt::format("{} fibers; one was trimmed in {} ns.",
                                         grouped(answer.result.at("count").get<std::uint64_t>()),
                                         grouped(answer.result.at("trim_ns").get<double>()))});
  }
}

}  // namespace growstack::compare
