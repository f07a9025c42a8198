// What does trimming below their stack pointers give back of fibers that were deep once and wait
// now?
#include "parts/clock.hpp"
#include "parts/descent.hpp"
#include "run/measurement.hpp"
#include "run/process_memory.hpp"
#include "subjects/pools.hpp"
#include "subjects/suspended.hpp"

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include <algorithm>
#include <array>
#include <numeric>
#include <system_error>

namespace growstack::compare {
namespace {

constexpr std::size_t depth = 128 * kibibyte;
constexpr std::size_t reserve = 2 * depth;

// ---- in the child -------------------------------------------------------------------------------

struct IdleFiber {
  Stack stack;
  Suspended code;
};

/// Returns a fiber that was deep once, and waits near its base now.
IdleFiber idle_fiber(StackPool& pool) {
  Stack stack = pool.acquire();
  Suspended code(stack.base(), stack.reserved());
  code.run([&] { bench::descend(bench::address_of(stack.base()) - depth); });
  return {.stack = std::move(stack), .code = code};
}

/// Returns how many resident pages a fiber has.
nlohmann::json resident_pages(const std::vector<IdleFiber>& fibers) {
  std::vector<double> pages;
  for (const IdleFiber& fiber : fibers) {
    pages.push_back(static_cast<double>(fiber.stack.resident() / handler::page_size()));
  }
  return {{"mean",
           std::accumulate(pages.begin(), pages.end(), 0.0) / static_cast<double>(pages.size())},
          {"most", *std::max_element(pages.begin(), pages.end())}};
}

void trim(IdleFiber& fiber) {
  if (const std::error_code error = fiber.stack.trim_below(fiber.code.stack_pointer())) {
    throw std::system_error(error, "trim_below");
  }
}

/// Answers {"fibers", "strategy"} with {"count", "before", "after": {"mean", "most"}, "trim_ns"}.
nlohmann::json measure(const nlohmann::json& request, Progress&) {
  const std::size_t count = affordable(request.at("fibers"), depth);
  StackPool pool({.reserve = reserve,
                  .guard = handler::page_size(),
                  .strategy = strategy_named(request.at("strategy")),
                  .name = "idle"});
  std::vector<IdleFiber> fibers;
  fibers.reserve(count);
  for (std::size_t each = 0; each < count; ++each) {
    fibers.push_back(idle_fiber(pool));
  }
  nlohmann::json result{{"count", count}, {"before", resident_pages(fibers)}};
  const auto begin = bench::Clock::now();
  std::for_each(fibers.begin(), fibers.end(), trim);
  result["trim_ns"] = bench::nanoseconds_since(begin) / static_cast<double>(count);
  result["after"] = resident_pages(fibers);
  return result;
}

// ---- in the parent ------------------------------------------------------------------------------

std::vector<Row> rows(const Outcome& its, const Outcomes&) {
  const std::string whose = fmt::format("the most that one of {} has", its.cell("count", grouped));
  return {its.row("rss_idle_fiber_pages_before", "before/most", "pages", whose + ", untrimmed"),
          its.row("rss_idle_fiber_pages", "after/most", "pages",
                  whose + " after trim_below() of its stack pointer")};
}

constexpr std::array columns{Column{"waiting: mean", "before/mean", decimals<2>},
                             Column{"most", "before/most", grouped},
                             Column{"trimmed: mean", "after/mean", decimals<2>},
                             Column{"most", "after/most", grouped},
                             Column{"fibers", "count", grouped},
                             Column{"ns for a trim", "trim_ns", grouped}};

const Registered registered(
    {.name = "idle_fibers",
     .group = "scale",
     .title = "IDLE FIBERS",
     .what = "Each fiber was down at 128 KiB once and waits near its base now. Then "
             "Stack::trim_below() of the stack pointer with which it waits.",
     .subjects = those_for_many,
     .ask = ask_each,
     .request = [](const Session& session, const Subject& subject) -> nlohmann::json {
       return {{"strategy", subject.name}, {"fibers", session.stacks_at_once(10'000, 1000)}};
     },
     .measure = measure,
     .rows = rows,
     .lines = "pages resident",
     .columns = columns,
     .aims = []() -> std::vector<Aim> {
       return {
           {"pages of an idle fiber, trimmed", value_of("rss_idle_fiber_pages"), for_markers(2)}};
     }});

}  // namespace
}  // namespace growstack::compare
