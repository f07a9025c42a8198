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
  for (const std::string subject : subjects) {
    all.push_back({{subject, subject}});
    if (is_strategy(subject, grows_in_huge_pages)) {
      all.push_back({{throughput_name(subject), subject}, GrowthPolicy::throughput()});
    }
  }
  all.push_back({{again(base_name), base_name}});
  return all;
}

nlohmann::json result_of(const Grower& grower, const std::vector<Grower>& all, const Depth& depth) {
  nlohmann::json result = times(grower, *find(all, base_name));
  if (grower.refusal.empty()) {
    result["faults"] = grower.faults;
    const Grower* const huge = find(all, huge_name);
    if (depth.beside_huge && huge != nullptr && is_strategy(grower.name, grows_in_huge_pages)) {
      set(result, "to_huge", bench::median_ratio(grower.nanoseconds, huge->nanoseconds));
    }
  }
  return result;
}

/// Answers for each name {depth: {"ns", "ratio", "faults", "to_huge"} or {"refusal"}}.
nlohmann::json measure(const nlohmann::json& request, Progress& progress) {
  raise_limits_for_stacks(deepest_reserve);
  make_malloc_forget();
  Rounds rounds(progress);
  Results results;
  const std::vector<Grower> all = all_growers(request.at("subjects"));
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
    rounds.run(1, what, here, grow);  // not counted
    rounds.run(rounds_at(depth, request.at("rounds")), what, here,
               [&](Grower& grower) { grower.nanoseconds.push_back(grow(grower)); });
    for (const Grower& grower : here) {
      results.of(grower)[depth.label] = result_of(grower, here, depth);
    }
  }
  return results.all();
}

// ---- in the parent ------------------------------------------------------------------------------

std::vector<Subject> subjects(const Session& session) {
  std::vector<Subject> all = session.stacks();
  if (const auto split_stack = session.peer(split_stack_name)) {
    all.push_back(*split_stack);
  }
  return all;
}

/// Tells each outcome why there are no huge pages here; empty if there are.
Outcomes ask(const Measurement& self, const Session& session,
             const std::vector<Subject>& all_subjects) {
  Outcomes all = ask_together(self, session, session.stacks());
  for (Outcome& outcome : all) {
    outcome.request["no_huge_pages"] = session.lacking(Strategy::demand_paging_huge);
    outcome.only_compared = outcome.only_compared && outcome.name != again(base_name);
  }
  if (const Subject& last = all_subjects.back(); last.name == split_stack_name) {
    all.push_back(ask_program(
        session, last,
        {{"task", "growth"}, {"rounds", session.rounds(self.rounds, self.quick_rounds)}}));
  }
  return all;
}

/// A depth at which the baseline, measured twice, differs from itself.
struct Noise {
  double ratio = 1;
  const Depth* where = nullptr;  // none: not measured
};

Noise worst_noise(const Outcomes& all) {
  Noise worst;
  const Outcome* const twin = find(all, again(base_name));
  for (const Depth& depth : depths) {
    const auto ratio =
        twin != nullptr ? twin->number(depth.label + std::string("/ratio")) : std::nullopt;
    if (ratio &&
        (worst.where == nullptr || bench::from_one(*ratio) > bench::from_one(worst.ratio))) {
      worst = {*ratio, &depth};
    }
  }
  return worst;
}

constexpr const char* split_stack_note =
    "calls with frames of 200 bytes; the ratio is to the same calls without split stacks on "
    "demand_paging";

/// Returns why the pages are small, if there are no huge ones here.
std::string small_pages_note(const Outcome& its) {
  const std::string reason = its.request.value("no_huge_pages", "");
  return reason.empty() ? "" : fmt::format("in small pages, because {}", reason);
}

std::string throughput_note(const Outcome& its) {
  const std::string small_pages = small_pages_note(its);
  return fmt::format(
      "under GrowthPolicy::throughput(), on a stack of at least {}, {}",
      in_units(least_for_huge_pages),
      !small_pages.empty()
          ? small_pages
          : "in huge pages from " + in_units(GrowthPolicy::throughput().huge_from) + " on");
}

/// Makes the rows for one depth. Those that grow in huge pages have some more.
void add_rows_at(const Depth& depth, const Outcome& its, const Outcomes& all,
                 std::vector<Row>& rows) {
  const std::string label = depth.label;
  const auto add = [&](const std::string& metric, const Outcome* from, const char* member,
                       const std::string& unit, const std::string& note) {
    const auto figure = from != nullptr ? from->number(label + "/" + member) : std::nullopt;
    const std::string refusal = from != nullptr ? from->text(label + "/refusal") : "";
    rows.push_back(
        {.metric = metric,
         .value = figure && unit == "us" ? std::optional(*figure / nanoseconds_per_us) : figure,
         .unit = unit,
         .note = figure             ? note
                 : !refusal.empty() ? refusal
                                    : "it has no such figure"});
  };
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
      rows.push_back({.metric = std::string("grow_ratio_again_") + depth.label,
                      .value = its.number(depth.label + std::string("/ratio")),
                      .unit = "ratio",
                      .note = "the same thing measured twice"});
    } else {
      add_rows_at(depth, its, all, rows);
    }
  }
  if (its.name != again(base_name)) {
    const Noise worst = worst_noise(all);
    const bool measured = worst.where != nullptr;
    rows.push_back({.metric = "grow_ratio_noise",
                    .value = measured ? std::optional(worst.ratio) : std::nullopt,
                    .unit = "ratio",
                    .note = measured
                                ? fmt::format("{} measured twice: the ratio farthest from 1, at {}",
                                              base_name, in_units(worst.where->bytes))
                                : "not measured"});
  }
  return rows;
}

/// Adds a line for each outcome that has some figure above 0.
void add_section(Table& table, const Outcomes& all, const char* heading, const char* member,
                 std::string (*format)(double), double unit = 1) {
  add_lines(table, all, heading, [&](const Outcome& its) {
    Cells cells;
    bool any = false;
    for (const Depth& depth : depths) {
      const std::string path = depth.label + std::string("/") + member;
      any = any || its.number(path).value_or(0) > 0;
      cells.push_back(its.cell(path, format, unit));
    }
    return any ? cells : Cells();
  });
}

Table table(const Outcomes& all) {
  Cells titles{"depth"};
  for (const Depth& depth : depths) {
    titles.push_back(in_units(depth.bytes));
  }
  Table table(titles);
  add_section(table, all, "time, us", "ns", short_number, nanoseconds_per_us);
  add_section(table, all, "time, demand_paging = 1", "ratio", decimals<2>);
  add_section(table, all, "time, demand_paging_huge = 1", "to_huge", decimals<2>);
  add_section(table, all, "growth faults of ours; the others have none", "faults", grouped);
  add_failures(table, all);
  return table;
}

/// Returns at which depths there is no figure, and why.
std::string refusal_sentence(const Outcome& its) {
  std::vector<std::string> where;
  std::string why;
  for (const Depth& depth : depths) {
    const std::string refusal = its.text(depth.label + std::string("/refusal"));
    if (!refusal.empty()) {
      where.push_back(in_units(depth.bytes));
      why = refusal;
    }
  }
  return where.empty() ? ""
                       : fmt::format("{} has no stack for {}: {}.", its.name, listed(where), why);
}

std::vector<std::string> remarks(const Outcomes& all) {
  std::vector<std::string> sentences;
  if (const Noise worst = worst_noise(all); worst.where != nullptr) {
    sentences.push_back(noise_sentence(base_name, worst.ratio));
  }
  bool has_throughput = false;
  for (const Outcome& each : all) {
    sentences.push_back(refusal_sentence(each));
    if (each.name == throughput_name(each.subject.name) && !std::exchange(has_throughput, true)) {
      sentences.push_back(fmt::format("throughput: {}.", throughput_note(each)));
    }
  }
  if (find(all, split_stack_name) != nullptr) {
    sentences.push_back(fmt::format("{}: {}.", split_stack_name, split_stack_note));
  }
  return sentences;
}

/// One aim for each of `depths`.
constexpr std::array by_handlers{1.05, 1.05, 1.10, 1.06, 1.04, 0.26, 0.175};
constexpr std::array by_helper{1.05, 1.05, 1.25, 1.10, 1.08, 0.27, 0.185};
static_assert(by_handlers.size() == depths.size() && by_helper.size() == depths.size());

std::vector<Aim> aims() {
  std::vector<Aim> all;
  const auto add = [&](const std::string& metric, const std::string& depth,
                       const std::string& title, double handlers, double helper) {
    all.push_back({.title = title,
                   .figure = value_of(metric),
                   .noise = noise_in(base_name, "grow_ratio_again_" + depth),
                   .handlers = handlers,
                   .helper = helper});
  };
  for (std::size_t index = 0; index < depths.size(); ++index) {
    const Depth& depth = depths[index];
    add(std::string("grow_ratio_") + depth.label, depth.label,
        fmt::format("to {}, demand_paging = 1", in_units(depth.bytes)), by_handlers[index],
        by_helper[index]);
  }
  add("grow_ratio_1MiB_throughput", "1MiB", "to 1 MiB for throughput, demand_paging = 1", 0.40,
      0.45);
  add("grow_ratio_16MiB_throughput", "16MiB", "to 16 MiB for throughput, demand_paging = 1", 0.16,
      0.17);
  add("grow_to_huge_16MiB", "16MiB", "to 16 MiB, demand_paging_huge = 1", 1.10, 1.15);
  add("grow_to_huge_64MiB", "64MiB", "to 64 MiB, demand_paging_huge = 1", 1.10, 1.15);
  return all;
}

std::string what() {
  return "How long a fresh stack takes to reach a depth. The code that runs on it touches it page "
         "by page. The figures are medians of rounds in which all take turns, of their times and "
         "of their ratios. The time does not include making the stack. malloc takes fresh memory "
         "for each stack.";
}

const Registered growth({.name = "growth",
                         .group = "growth",
                         .title = "GROWTH",
                         .what = what,
                         .subjects = subjects,
                         .ask = ask,
                         .measure = measure,
                         .rows = rows,
                         .table = table,
                         .remarks = remarks,
                         .aims = aims,
                         .base = name(baseline),
                         .rounds = 101,
                         .quick_rounds = 12});

}  // namespace
}  // namespace growstack::compare
