// How long does a fresh stack take to reach a depth, compared with demand paging?
#include "growth/depths.hpp"
#include "parts/clock.hpp"
#include "parts/descent.hpp"
#include "parts/errors.hpp"
#include "parts/memory.hpp"
#include "run/measurement.hpp"
#include "run/turns.hpp"
#include "subjects/any_stack.hpp"

#include <growstack/handler/pages.hpp>

#include <malloc.h>
#include <sys/mman.h>

#include <stdexcept>

namespace growstack::compare {
namespace {

constexpr std::size_t guard = 64 * kibibyte;
constexpr std::size_t huge_page = 2 * mebibyte;

/// A smaller stack has no huge pages, whatever the policy says.
constexpr std::size_t least_for_huge_pages = 4 * mebibyte;

constexpr double nanoseconds_per_us = 1000;

const std::string base_name(name(baseline));
const std::string huge_name(name(Strategy::demand_paging_huge));

/// Returns the name under which a subject takes part once more, with GrowthPolicy::throughput().
std::string throughput_name(const std::string& subject) { return subject + ", throughput"; }

// ---- in the child -------------------------------------------------------------------------------

struct Grower : Contender {
  GrowthPolicy policy{};
  std::uint64_t faults = 0;

  [[nodiscard]] bool is_for_throughput() const { return policy != GrowthPolicy(); }
};

/// Makes malloc take fresh memory for each stack. Otherwise it would give the memory of the last
/// one again, with its pages.
void make_malloc_forget() {
  // The usual threshold, below the size of every stack here. Once set, it does not adapt.
  constexpr int threshold = 128 * 1024;
  if (mallopt(M_MMAP_THRESHOLD, threshold) != 1) {
    throw std::runtime_error("mallopt refused M_MMAP_THRESHOLD");
  }
}

/// Gives back the first pages of a thread's stack: glibc keeps them when a thread ends, and lets
/// the next thread have them.
void give_back_what_glibc_kept(const AnyStack& stack) {
  constexpr std::uintptr_t room = 512;  // more than this function and madvise take
  const std::uintptr_t below =
      handler::page_down(bench::address_of(__builtin_frame_address(0)) - room);
  bench::require(
      madvise(reinterpret_cast<void*>(stack.floor()), below - stack.floor(), MADV_DONTNEED) == 0,
      "madvise");
}

/// Warms what the stack will take: small pages, and below them whole huge ones. The size is rounded
/// up to huge pages, because the kernel does not align a mapping of another size.
void warm_for(const Grower& grower, std::size_t bytes) {
  const auto in_huge_pages = [](std::size_t size) {
    return (size + huge_page - 1) / huge_page * huge_page;
  };
  const bench::Pages pages = pages_taken_by(grower.subject, bytes, grower.policy);
  const std::size_t in_small_pages = grower.policy.huge_from;
  bench::touch_and_free(pages == bench::Pages::single
                            ? bytes
                            : in_huge_pages(in_small_pages + in_huge_pages(bytes - in_small_pages)),
                        pages);
}

/// Takes one fresh stack to the depth and returns the nanoseconds. The time includes neither the
/// making and releasing of the stack nor the switch to it.
double grow_once(Grower& grower, std::size_t bytes) {
  const std::size_t reserve =
      grower.is_for_throughput() ? std::max(bytes + beyond, least_for_huge_pages) : bytes + beyond;
  const auto stack =
      make_stack(grower.subject, {.reserve = reserve, .guard = guard, .policy = grower.policy});
  warm_for(grower, bytes);
  double nanoseconds = 0;
  stack->run([&] {
    if (grower.subject == glibc_thread_name) {
      give_back_what_glibc_kept(*stack);
    }
    const std::uintptr_t lowest = stack->base() - bytes;
    const auto before = bench::Clock::now();
    bench::descend(lowest);
    nanoseconds = bench::nanoseconds_since(before);
  });
  grower.faults = stack->growth_events();
  return nanoseconds;
}

/// Returns the mean of a few stacks, in nanoseconds.
double grow_some(Grower& grower, std::size_t bytes) {
  const unsigned stacks = stacks_per_sample(bytes);
  double sum = 0;
  for (unsigned each = 0; each < stacks; ++each) {
    sum += grow_once(grower, bytes);
  }
  return sum / stacks;
}

std::vector<Grower> all_growers(const nlohmann::json& subjects) {
  std::vector<Grower> all;
  for (const Grower& grower : contenders<Grower>(subjects, base_name)) {
    all.push_back(grower);
    if (is_strategy(grower.name, grows_in_huge_pages)) {
      all.push_back({{throughput_name(grower.name), grower.name}, GrowthPolicy::throughput()});
    }
  }
  return all;
}

nlohmann::json result_of(const Grower& grower, const std::vector<Grower>& all, const Depth& depth) {
  nlohmann::json result = times(grower, *find(all, base_name));
  const Grower* const huge = find(all, huge_name);
  if (grower.refusal.empty()) {
    result["faults"] = grower.faults;
  }
  if (depth.beside_huge && huge != nullptr && is_strategy(grower.name, grows_in_huge_pages)) {
    set(result, "to_huge", bench::median_ratio(grower.nanoseconds, huge->nanoseconds));
  }
  return result;
}

/// Answers for each name {depth: {"ns", "ratio", "faults", "to_huge"} or {"refusal"}}.
nlohmann::json measure(const nlohmann::json& request, Progress& progress) {
  raise_limits_for_stacks(deepest_reserve);
  make_malloc_forget();
  const std::vector<Grower> all = all_growers(request.at("subjects"));
  Turns turns(progress);
  Results results;
  for (const Grower& grower : all) {
    results.of(grower);  // in this order, also those that do not take part at the first depth
  }
  for (const Depth& depth : depths) {
    std::vector<Grower> here;
    std::copy_if(all.begin(), all.end(), std::back_inserter(here), [&](const Grower& each) {
      return depth.under_throughput || !each.is_for_throughput();
    });
    const auto grow = [&](Grower& grower) { return grow_some(grower, depth.bytes); };
    const std::string what = fmt::format("growth: to {},", in_units(depth.bytes));
    bench::warm_memory(2 * deepest_reserve);
    turns.take(1, what, here, grow);  // not counted
    turns.take(rounds_at(depth, request.at("rounds")), what, here,
               [&](Grower& grower) { grower.nanoseconds.push_back(grow(grower)); });
    for (const Grower& grower : here) {
      results.of(grower)[depth.label] = result_of(grower, here, depth);
    }
  }
  return results.all();
}

// ---- in the parent ------------------------------------------------------------------------------

/// Asks about split stacks in a program of their own. Tells each outcome why there are no huge
/// pages here; empty if there are.
Outcomes ask(const Measurement& self, const Session& session,
             const std::vector<Subject>& subjects) {
  Outcomes all = ask_together(self, session, session.stacks());
  if (const Subject& last = subjects.back(); last.name == split_stack_name) {
    all.push_back(ask_program(
        session, last,
        {{"task", "growth"}, {"rounds", session.rounds(self.rounds.full, self.rounds.quick)}}));
  }
  for (Outcome& its : all) {
    its.request["no_huge_pages"] = session.lacking(Strategy::demand_paging_huge);
    its.only_compared = its.only_compared && its.name != again(base_name);
  }
  return all;
}

std::string path(const Depth& depth, const char* member) {
  return fmt::format("{}/{}", depth.label, member);
}

std::vector<std::string> paths(const char* member) {
  std::vector<std::string> all;
  for (const Depth& depth : depths) {
    all.push_back(path(depth, member));
  }
  return all;
}

/// Returns the ratio of the base, measured twice, that is farthest from 1.
double noise(const Outcome& twin) {
  double farthest = 1;
  for (const std::string& path : paths("ratio")) {
    const double ratio = twin.number(path).value_or(1);
    farthest = bench::from_one(ratio) > bench::from_one(farthest) ? ratio : farthest;
  }
  return farthest;
}

constexpr const char* split_stack_note =
    "calls with frames of 200 bytes; the ratio is to the same calls without split stacks on "
    "demand_paging";

/// Returns why the pages are small, if there are no huge ones here; empty otherwise.
std::string small_pages_note(const Outcome& its) {
  const std::string reason = its.request.value("no_huge_pages", "");
  return reason.empty() ? "" : fmt::format("in small pages, because {}", reason);
}

std::string throughput_note(const Outcome& its) {
  const std::string small_pages = small_pages_note(its);
  return fmt::format(
      "under GrowthPolicy::throughput(), on a stack of at least {}, {}",
      in_units(least_for_huge_pages),
      small_pages.empty()
          ? fmt::format("in huge pages from {} on", in_units(GrowthPolicy::throughput().huge_from))
          : small_pages);
}

/// Makes the rows for one depth. Those that grow in huge pages have some more.
void add_rows_at(const Depth& depth, const Outcome& its, const Outcomes& all,
                 std::vector<Row>& rows) {
  const auto add = [&](const std::string& metric, const Outcome* from, const char* member,
                       const char* unit, const std::string& note) {
    const auto figure = from != nullptr ? from->number(path(depth, member)) : std::nullopt;
    const std::string refusal = from != nullptr ? from->text(path(depth, "refusal")) : "";
    const double divisor = std::string_view(unit) == "us" ? nanoseconds_per_us : 1;
    rows.push_back(its.row(metric, figure ? std::optional(*figure / divisor) : std::nullopt, unit,
                           note, refusal.empty() ? "it has no such figure" : refusal));
  };
  const std::string label = depth.label;
  const std::string note = its.name == split_stack_name
                               ? split_stack_note
                               : stack_limit_note(its.subject, deepest_reserve);
  add("grow_ratio_" + label, &its, "ratio", "ratio", note);
  add("grow_us_" + label, &its, "ns", "us", note);
  add("grow_faults_" + label, &its, "faults", "faults", note);
  const bool in_huge_pages = is_strategy(its.name, grows_in_huge_pages);
  if (depth.under_throughput && in_huge_pages) {
    const Outcome* const other = find(all, throughput_name(its.name));
    add("grow_ratio_" + label + "_throughput", other, "ratio", "ratio", throughput_note(its));
    add("grow_us_" + label + "_throughput", other, "ns", "us", throughput_note(its));
  }
  if (depth.beside_huge && in_huge_pages) {
    add("grow_to_huge_" + label, &its, "to_huge", "ratio", small_pages_note(its));
  }
}

std::vector<Row> rows(const Outcome& its, const Outcomes& all) {
  std::vector<Row> rows;
  for (const Depth& depth : depths) {
    if (its.name == again(base_name)) {
      rows.push_back(its.row(fmt::format("grow_ratio_again_{}", depth.label),
                             its.number(path(depth, "ratio")), "ratio",
                             "the same thing measured twice"));
    } else {
      add_rows_at(depth, its, all, rows);
    }
  }
  if (its.name != again(base_name)) {
    const Outcome* const twin = find(all, again(base_name));
    rows.push_back(its.row("grow_ratio_noise",
                           twin != nullptr ? std::optional(noise(*twin)) : std::nullopt, "ratio",
                           base_name + " measured twice: the ratio farthest from 1"));
  }
  return rows;
}

Table table(const Outcomes& all) {
  Cells titles{"depth"};
  for (const Depth& depth : depths) {
    titles.push_back(in_units(depth.bytes));
  }
  Table table(titles);
  add_section(table, all, "time, us", paths("ns"), short_number, nanoseconds_per_us);
  add_section(table, all, "time, demand_paging = 1", paths("ratio"), decimals<2>);
  add_section(table, all, "time, demand_paging_huge = 1", paths("to_huge"), decimals<2>);
  add_section(table, all, "growth faults of ours; the others have none", paths("faults"), grouped);
  return table;
}

std::vector<std::string> remarks(const Outcomes& all) {
  std::vector<std::string> sentences;
  std::string throughput;
  for (const Outcome& its : all) {
    if (its.name == throughput_name(its.subject.name)) {
      throughput = fmt::format("throughput: {}.", throughput_note(its));
    }
    for (const Depth& depth : depths) {
      const std::string refusal = its.text(path(depth, "refusal"));
      sentences.push_back(refusal.empty() ? ""
                                          : fmt::format("{} has no stack for {}: {}.", its.name,
                                                        in_units(depth.bytes), refusal));
    }
  }
  sentences.push_back(throughput);
  sentences.push_back(find(all, split_stack_name) == nullptr
                          ? ""
                          : fmt::format("{}: {}.", split_stack_name, split_stack_note));
  return sentences;
}

std::vector<Aim> aims() {
  // One aim for each of `depths`.
  constexpr std::array by_handlers{1.05, 1.05, 1.10, 1.06, 1.04, 0.26, 0.175};
  constexpr std::array by_helper{1.05, 1.05, 1.25, 1.10, 1.08, 0.27, 0.185};
  std::vector<Aim> all;
  const auto add = [&](const std::string& metric, const std::string& title, const char* depth,
                       double handlers, double helper) {
    all.push_back({title,
                   value_of(metric),
                   {.handlers = handlers, .helper = helper},
                   noise_in(base_name, std::string("grow_ratio_again_") + depth)});
  };
  for (std::size_t at = 0; at < depths.size(); ++at) {
    add(fmt::format("grow_ratio_{}", depths[at].label),
        fmt::format("to {}, demand_paging = 1", in_units(depths[at].bytes)), depths[at].label,
        by_handlers.at(at), by_helper.at(at));
  }
  add("grow_ratio_1MiB_throughput", "to 1 MiB for throughput, the same", "1MiB", 0.40, 0.45);
  add("grow_ratio_16MiB_throughput", "to 16 MiB for throughput, the same", "16MiB", 0.16, 0.17);
  add("grow_to_huge_16MiB", "to 16 MiB, demand_paging_huge = 1", "16MiB", 1.10, 1.15);
  add("grow_to_huge_64MiB", "to 64 MiB, demand_paging_huge = 1", "64MiB", 1.10, 1.15);
  return all;
}

const Registered registered(
    {.name = "growth",
     .group = "growth",
     .title = "GROWTH",
     .what = "How long a fresh stack takes to reach a depth. The code that runs on it touches it "
             "page by page. The figures are medians of rounds in which all take turns, of their "
             "times and of their ratios. The time does not include making the stack. malloc takes "
             "fresh memory for each stack. demand_paging_again is demand_paging measured twice: "
             "smaller differences mean nothing.",
     .subjects = stacks_and_split_stack,
     .ask = ask,
     .base = name(baseline),
     .rounds = {101, 12},
     .measure = measure,
     .rows = rows,
     .table = table,
     .remarks = remarks,
     .aims = aims});

}  // namespace
}  // namespace growstack::compare
