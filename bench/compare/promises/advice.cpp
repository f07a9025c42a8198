// Which one to choose for what. The wishes are written here; who fulfils them is looked up in the
// cells of this run.
#include "promise.hpp"

#include "table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <iterator>

namespace growstack::compare::promises {
namespace {

using Column = Answers::Column;
using Columns = std::vector<const Column*>;
using Wish = std::function<bool(const Column&)>;

Wish keeps_all(std::vector<std::string> promises) {
  return [promises = std::move(promises)](const Column& column) {
    return std::all_of(promises.begin(), promises.end(),
                       [&](const std::string& each) { return column.keeps(each); });
  };
}

Wish has_none(std::vector<std::string> counts) {
  return [counts = std::move(counts)](const Column& column) {
    return std::all_of(counts.begin(), counts.end(),
                       [&](const std::string& each) { return column.cell(each).value == 0.0; });
  };
}

Wish both(Wish one, Wish other) {
  return [one = std::move(one), other = std::move(other)](const Column& column) {
    return one(column) && other(column);
  };
}

Columns that_fulfil(const Answers& answers, const Wish& wish) {
  Columns all;
  for (const Column& column : answers.columns) {
    if (column.unsupported.empty() && wish(column)) {
      all.push_back(&column);
    }
  }
  return all;
}

std::string names(const Columns& columns) {
  std::vector<std::string> all;
  for (const Column* const each : columns) {
    all.push_back(each->subject);
  }
  return all.empty() ? "nobody here" : listed(all);
}

/// Those with the least of something, among these, or hardly more; it must be known of them.
Columns least(const Columns& among, const std::string& promise) {
  constexpr double hardly_more = 1.01;
  std::optional<double> smallest;
  for (const Column* const each : among) {
    const std::optional<double>& value = each->cell(promise).value;
    smallest = value && smallest ? std::min(value, smallest) : value ? value : smallest;
  }
  Columns best;
  std::copy_if(among.begin(), among.end(), std::back_inserter(best), [&](const Column* each) {
    const std::optional<double>& value = each->cell(promise).value;
    return value && *value <= *smallest * hardly_more;
  });
  return best;
}

std::size_t mappings_allowed() {
  std::ifstream file("/proc/sys/vm/max_map_count");
  std::size_t count = 0;
  file >> count;
  return count;
}

const Wish guarded = keeps_all({"overflow_detected", "neighbour_safe"});
const Wish deathless_calls =
    has_none({"posix_spawn_deaths", "system_deaths", "popen_deaths", "abort_deaths"});
const std::vector<std::string> unprivileged_calls{"unprivileged", "unprivileged_call", "read_libc"};
const std::vector<std::string> kernel_calls{"read_libc", "read_raw", "recv_raw", "futex_raw",
                                            "getrandom_raw"};

std::string very_many_stacks(const Answers& answers, const std::string& promise, const char* size) {
  const Columns best = least(that_fulfil(answers, guarded), promise);
  if (best.empty()) {
    return fmt::format("Very many guarded stacks of {}: nobody here.", size);
  }
  const Cell& cell = best.front()->cell(promise);
  const std::string room =
      *cell.value <= 0 ? "is no bound"
                       : "allows " + grouped(static_cast<double>(mappings_allowed()) / *cell.value);
  return fmt::format(
      "Very many guarded stacks of {}: {}, {} mappings a stack: vm.max_map_count ({}) {}.", size,
      names(best), cell.word, grouped(mappings_allowed()), room);
}

/// Counts of deaths are yes-or-no promises, too: none may die.
bool is_yes_or_no(const Promise& promise) {
  const std::string unit(promise.unit);
  return unit == "1/0" || unit == "deaths";
}

bool is_kept(const Column& column, const Promise& promise) {
  return column.cell(promise.name).value == (std::string(promise.unit) == "deaths" ? 0.0 : 1.0);
}

std::string most_promises(const Answers& answers) {
  std::size_t asked = 0;
  std::map<const Column*, std::size_t> kept;
  for (const Family& family : families()) {
    for (const Probe& probe : family.probes) {
      for (const Promise& promise : probe.slow ? std::vector<Promise>{} : probe.promises) {
        asked += is_yes_or_no(promise) ? 1 : 0;
        for (const Column& column : answers.columns) {
          kept[&column] += is_yes_or_no(promise) && is_kept(column, promise) ? 1 : 0;
        }
      }
    }
  }
  std::size_t most = 0;
  for (const auto& [column, count] : kept) {
    most = std::max(most, count);
  }
  return fmt::format(
      "The most of the {} yes-or-no promises, {}: {}.", asked, most,
      names(that_fulfil(answers, [&](const Column& column) { return kept[&column] == most; })));
}

std::string least_charged(const Answers& answers) {
  const Columns best = least(that_fulfil(answers, guarded), "charged_reserved");
  return best.empty()
             ? ""
             : fmt::format(
                   "The least charged for a guarded stack that was only reserved: {}, {} of 8 MiB.",
                   names(best), best.front()->cell("charged_reserved").word);
}

std::string unguarded(const Answers& answers) {
  const Columns all = that_fulfil(
      answers, [](const Column& column) { return column.cell("overflow_detected").value == 0.0; });
  return all.empty() ? "Nobody here overflows in silence."
                     : fmt::format(
                           "Not for code whose depth depends on its input: {} wrote below the "
                           "floor, and nobody "
                           "noticed.",
                           names(all));
}

std::string fulfilled(const Answers& answers, const char* wish, const Wish& by) {
  return fmt::format("{}: {}.", wish, names(that_fulfil(answers, by)));
}

}  // namespace

std::vector<std::string> advice(const Answers& answers) {
  const Wish all_made = [](const Column& column) {
    const Cell& made = column.cell("made_under_data_limit");
    return made.value > 0.0 && made.note.empty();
  };
  const Wish gives_back = [](const Column& column) {
    const std::optional<double>& resident = column.cell("rss_trimmed").value;
    return column.keeps("regrows") && resident && *resident < static_cast<double>(depth) / 2;
  };
  return {
      most_promises(answers),
      very_many_stacks(answers, "vmas_each_small", "256 KiB"),
      very_many_stacks(answers, "vmas_each", "8 MiB"),
      least_charged(answers),
      fulfilled(answers, "All of the stacks wanted, under a small RLIMIT_DATA", all_made),
      fulfilled(answers, "A report that says \"stack overflow\"", keeps_all({"overflow_reported"})),
      fulfilled(answers, "Large frames that do not land in a neighbour, however they were compiled",
                keeps_all({"jump_detected"})),
      fulfilled(answers, "System calls into untouched memory, all of these, and guarded",
                both(keeps_all(kernel_calls), guarded)),
      fulfilled(answers, "The same without privileges",
                both(both(keeps_all(kernel_calls), keeps_all(unprivileged_calls)), guarded)),
      fulfilled(answers, "Signal handlers without SA_ONSTACK that never miss a signal, and guarded",
                both(keeps_all({"signal_plain"}), guarded)),
      fulfilled(answers, "posix_spawn, system, popen and abort at any depth, and guarded",
                both(deathless_calls, guarded)),
      fulfilled(answers,
                "Code that blocks SIGSEGV, or runs where no alternate signal stack is, and guarded",
                both(keeps_all({"sigsegv_blocked", "no_altstack"}), guarded)),
      fulfilled(answers, "Growth in a forked child", keeps_all({"fork_on", "fork_beside"})),
      fulfilled(answers, "Memory given back by a trim, and growth after it", gives_back),
      fulfilled(answers, "No privileges", keeps_all({"unprivileged"})),
      unguarded(answers)};
}

}  // namespace growstack::compare::promises
