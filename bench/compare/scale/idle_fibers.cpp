// What does trimming below their stack pointers give back of fibers that were deep once and wait
// now?
#include "parts/clock.hpp"
#include "parts/descent.hpp"
#include "run/measurement.hpp"
#include "run/process_memory.hpp"
#include "scale/suspended.hpp"
#include "subjects/pools.hpp"

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include <algorithm>
#include <numeric>
#include <system_error>

namespace growstack::compare {
namespace {

constexpr std::size_t depth = std::size_t{128} * 1024;
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

/// Returns the resident pages of a fiber.
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

/// Answers {"fibers"} with {"count", "before", "after": {"mean", "most"}, "trim_ns"}.
nlohmann::json measure(const nlohmann::json& request, Progress&) {
  const std::size_t count = affordable(request.at("fibers"), depth);
  StackPool pool(
      {.reserve = reserve, .guard = handler::page_size(), .strategy = many, .name = "idle"});
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
  return {{.metric = "rss_idle_fiber_pages_before",
           .value = its.number("before/most"),
           .unit = "pages",
           .note = whose + ", untrimmed"},
          {.metric = "rss_idle_fiber_pages",
           .value = its.number("after/most"),
           .unit = "pages",
           .note = whose + " after trim_below() of its stack pointer"}};
}

Table table(const Outcomes& all) {
  Table table({"pages resident", "waiting: mean", "most", "trimmed: mean", "most", "fibers",
               "ns for a trim"});
  add_lines(table, all, "", [](const Outcome& its) -> Cells {
    return {its.cell("before/mean", decimals<2>), its.cell("before/most", decimals<0>),
            its.cell("after/mean", decimals<2>),  its.cell("after/most", decimals<0>),
            its.cell("count", grouped),           its.cell("trim_ns", grouped)};
  });
  add_failures(table, all);
  return table;
}

std::string what() {
  return fmt::format(
      "Each fiber was down at {} once and waits near its base now. Then Stack::trim_below() of the "
      "stack pointer with which it waits.",
      in_units(depth));
}

std::vector<Aim> aims() {
  return {{.title = "pages of an idle fiber, trimmed",
           .figure = value_of("rss_idle_fiber_pages"),
           .markers = 2}};
}

const Registered idle_fibers({.name = "idle_fibers",
                              .group = "scale",
                              .title = "IDLE FIBERS",
                              .what = what,
                              .subjects = the_one_for_many,
                              .ask = ask_each,
                              .measure = measure,
                              .rows = rows,
                              .table = table,
                              .aims = aims,
                              .request = [](const Session& session,
                                            const Subject&) -> nlohmann::json {
                                return {{"fibers", session.stacks_at_once(10'000, 1000)}};
                              }});

}  // namespace
}  // namespace growstack::compare
