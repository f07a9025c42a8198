// Does a pool stay as fast as an unguarded allocator when fibers go deeper than its first pages,
// and all go equally deep?
#include "subjects/fibers.hpp"
#include "first/lines.hpp"
#include "first/workload.hpp"

#include <array>
#include <memory>

namespace growstack::compare {
namespace {

constexpr std::array depths{4 * kibibyte,   16 * kibibyte,  64 * kibibyte,
                            100 * kibibyte, 256 * kibibyte, mebibyte};
constexpr std::array thread_counts{1U, 2U};
constexpr double at_most = 1.2;
const std::string base_name(boost_pooled_name);

std::string name_of(const std::string& subject, std::size_t depth, unsigned threads) {
  return fmt::format("{}, {}, {} threads", subject, in_units(depth), threads);
}

// ---- in the child -------------------------------------------------------------------------------

/// After so many fibers a pool knows how deep they go.
constexpr unsigned until_steady = 64;

/// Times `one(thread)`, in steady state: on this thread, or on several at once.
template <class One>
Timing time_on(unsigned threads, const One& one) {
  for (unsigned each = 0; each < until_steady; ++each) {
    one(0U);
  }
  if (threads == 1) {
    return [one](unsigned times) { return time_each(times, [&] { one(0U); }); };
  }
  return at_once(
      threads, [one](unsigned thread) { one(thread); },
      [one](unsigned thread, unsigned times) {
        for (unsigned each = 0; each < times; ++each) {
          one(thread);
        }
      });
}

Timing of_pool(const std::string& strategy, std::size_t depth, unsigned threads) {
  return time_on(threads,
                 [pool = std::make_shared<StackPool>(usual_pool(strategy)), depth](unsigned) {
                   const Stack stack = pool->acquire();
                   run_fiber_on(stack.base(), stack.reserved(), [depth] { go_down(depth); });
                 });
}

Timing of_boost(std::size_t depth, unsigned threads) {
  std::vector<BoostPool> pools;
  while (pools.size() < threads) {
    pools.emplace_back(first_reserve);
  }
  return time_on(threads, [pools, depth](unsigned thread) {
    run_fiber(pools[thread], [depth] { go_down(depth); });
  });
}

Line line(const std::string& subject, std::size_t depth, unsigned threads) {
  const std::string which =
      threads == 1 ? "fiber_ns_" : fmt::format("fiber_{}_threads_ns_", threads);
  std::string size = in_units(depth);
  std::erase(size, ' ');
  Line line = plain_line(name_of(subject, depth, threads), subject, "", which + size, [=] {
    return subject == base_name ? of_boost(depth, threads) : of_pool(subject, depth, threads);
  });
  line.in_fastest_rounds = threads > 1;
  line.with_rare_costs = true;
  return line;
}

Lines lines(const std::vector<std::string>& strategies) {
  Lines all;
  for (const unsigned threads : thread_counts) {
    for (const std::size_t depth : depths) {
      all.push_back(line(base_name, depth, threads));
      for (const std::string& each : strategies) {
        all.push_back(line_with_aim(line(each, depth, threads),
                                    {{{name_of(base_name, depth, threads)}}}, at_most));
      }
    }
  }
  return all;
}

// ---- in the parent ------------------------------------------------------------------------------

/// Returns the names in the order in which they first appear.
std::vector<std::string> subjects_in(const Outcomes& all) {
  std::vector<std::string> names;
  for (const Outcome& each : all) {
    if (std::find(names.begin(), names.end(), each.subject.name) == names.end()) {
      names.push_back(each.subject.name);
    }
  }
  return names;
}

void add_figures(Table& table, const Outcomes& all, unsigned threads) {
  table.add_heading(
      fmt::format("ns for a fiber, {}", threads == 1 ? "one thread" : "two threads at once"));
  for (const std::string& subject : subjects_in(all)) {
    Cells cells{"  " + subject};
    for (const std::size_t depth : depths) {
      const Outcome* const its = find(all, name_of(subject, depth, threads));
      cells.push_back(its == nullptr ? "-" : its->cell("figure", grouped));
    }
    table.add(std::move(cells));
  }
}

void add_ratios(Table& table, const Outcomes& all, unsigned threads) {
  table.add_heading(fmt::format("{} = 1, at most {}; {}", base_name, at_most,
                                threads == 1 ? "one thread" : "two threads at once"));
  for (const std::string& subject : subjects_in(all)) {
    Cells cells{"  " + (subject == base_name ? again(subject) : subject)};
    for (const std::size_t depth : depths) {
      const Outcome* const its = find(all, name_of(subject, depth, threads));
      const std::string aim = its == nullptr ? "" : its->text("aim");
      cells.push_back(its == nullptr ? "-"
                      : aim.empty()  ? its->cell("noise", decimals<2>) + "  "
                                     : its->cell("ratio", short_number) + " " + aim.back());
    }
    table.add(std::move(cells));
  }
}

Table table(const Outcomes& all) {
  Table table({"KiB deep", "4", "16", "64", "100", "256", "1024"});
  for (const unsigned threads : thread_counts) {
    add_figures(table, all, threads);
    add_ratios(table, all, threads);
  }
  return table;
}

const Registered registered(measurement_of_lines<lines>(
    {.name = "first_fibers",
     .group = "first",
     .title = "FIRST: FIBERS THAT ALL GO EQUALLY DEEP",
     .what =
         "A fiber of Boost.Context gets a stack of 8 MiB from a StackPool with the usual "
         "options, goes down by calls with frames of 3.5 KiB that each write once, and ends. "
         "Then comes the next fiber, equally deep. The same on boost_pooled_fixedsize, which has "
         "no guard and no lock: two threads share one StackPool, but each has a Boost pool of its "
         "own. The figures are medians of rounds in which all take turns; the ratios of two "
         "threads are those of the fastest tenth. What they leave out: the first fibers, until the "
         "pool knows how deep they go, and one fiber in 0.6 seconds, whose stack the pool trims "
         "beforehand to learn how deep it goes; at 1 MiB that is one thousandth of the time.",
     .subjects = grow_by_events,
     .rounds = {40, 3},
     .table = table}));

}  // namespace
}  // namespace growstack::compare
