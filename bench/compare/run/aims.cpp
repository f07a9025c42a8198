// What is meant to be reached, beside what was measured: read from the rows of the groups that were
// run.
#include "run/aims.hpp"

#include "growth/depths.hpp"
#include "parts/samples.hpp"
#include "run/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace growstack::compare {
namespace {

constexpr const char* pipe_helper = "pipe_helper";
constexpr const char* in_handler = "in_handler";
constexpr const char* guard_markers = "guard_markers";

class Measured {
 public:
  explicit Measured(const std::vector<Row>& rows) : rows_(rows) {}

  [[nodiscard]] std::optional<double> value(const std::string& subject,
                                            const std::string& metric) const {
    const auto found = std::find_if(rows_.begin(), rows_.end(), [&](const Row& row) {
      return row.subject == subject && row.metric == metric;
    });
    return found == rows_.end() ? std::nullopt : found->value;
  }

  /// As long as this lives.
  [[nodiscard]] std::function<std::optional<double>(const std::string& subject)> values_of(
      const std::string& metric) const {
    return [this, metric](const std::string& subject) { return value(subject, metric); };
  }

  [[nodiscard]] std::optional<double> ratio(const std::string& subject, const std::string& metric,
                                            const std::string& base_subject,
                                            const std::string& base_metric) const {
    const auto dividend = value(subject, metric);
    const auto divisor = value(base_subject, base_metric);
    return dividend && divisor && *divisor > 0 ? std::optional(*dividend / *divisor) : std::nullopt;
  }

 private:
  const std::vector<Row>& rows_;
};

/// At most this, and how far from it a figure must be to mean anything (0.03: 3 %).
struct Aim {
  double most = 0;
  double noise = 0;
};

/// One line: what a strategy reaches, and what it is meant to reach. Without an aim it does not
/// take part.
struct Figure {
  std::string title;
  std::function<std::optional<double>(const std::string& subject)> measured;
  std::optional<Aim> of_handlers{};  // in_handler and guard_markers
  std::optional<Aim> of_helper{};    // pipe_helper
  std::optional<Aim> of_markers{};   // guard_markers alone

  [[nodiscard]] const std::optional<Aim>& of_handlers_or_markers() const {
    return of_handlers ? of_handlers : of_markers;
  }
};

/// How far what was measured twice differs from itself.
double noise_of(const Measured& measured, const std::string& subject, const std::string& metric) {
  const auto ratio = measured.value(subject, metric);
  return ratio ? bench::from_one(*ratio) : 0;
}

/// That of demand_paging at a depth.
double growth_noise(const Measured& measured, const char* depth) {
  return noise_of(measured, std::string(name(baseline)), std::string("grow_ratio_again_") + depth);
}

/// Half of the range of the processes' medians.
double fault_noise(const Measured& measured) {
  const auto range = measured.ratio(in_handler, "fault_most_ns", in_handler, "fault_least_ns");
  return range ? std::log(*range) / 2 : 0;
}

/// One for each of `depths`.
constexpr std::array<double, depths.size()> of_handlers_at{1.05, 1.05, 1.10, 1.06,
                                                           1.04, 0.26, 0.175};
constexpr std::array<double, depths.size()> of_helper_at{1.05, 1.05, 1.25, 1.10, 1.08, 0.27, 0.185};

void add_growth(std::vector<Figure>& figures, const Measured& measured) {
  const auto add = [&](const std::string& metric, const char* depth, const std::string& title,
                       double handlers, double helper) {
    const double noise = growth_noise(measured, depth);
    figures.push_back({.title = title,
                       .measured = measured.values_of(metric),
                       .of_handlers = Aim{handlers, noise},
                       .of_helper = Aim{helper, noise}});
  };
  for (std::size_t index = 0; index < depths.size(); ++index) {
    const Depth& depth = depths[index];
    add(std::string("grow_ratio_") + depth.label, depth.label,
        fmt::format("to {}, demand_paging = 1", in_units(depth.bytes)), of_handlers_at[index],
        of_helper_at[index]);
  }
  add("grow_ratio_1MiB_throughput", "1MiB", "to 1 MiB for throughput, the same", 0.40, 0.45);
  add("grow_ratio_16MiB_throughput", "16MiB", "to 16 MiB for throughput, the same", 0.16, 0.17);
  add("grow_to_huge_16MiB", "16MiB", "to 16 MiB, demand_paging_huge = 1", 1.10, 1.15);
  add("grow_to_huge_64MiB", "64MiB", "to 64 MiB, demand_paging_huge = 1", 1.10, 1.15);
}

void add_faults(std::vector<Figure>& figures, const Measured& measured) {
  const double noise = fault_noise(measured);
  figures.push_back({.title = "one fault, bare handler = 1",
                     .measured =
                         [&measured](const std::string& subject) {
                           return measured.ratio(subject, "fault_ns", subject, "fault_floor_ns");
                         },
                     .of_handlers = Aim{1.10, noise}});
  for (const auto& [metric, title, most] :
       {std::tuple{"fault_ns", "one fault, in_handler = 1", 1.3},
        std::tuple{"fault_cold_ns", "one fault after 10 ms, in_handler = 1", 2.0}}) {
    figures.push_back({.title = title,
                       .measured =
                           [&measured, metric = metric](const std::string& subject) {
                             return measured.ratio(subject, metric, in_handler, metric);
                           },
                       .of_helper = Aim{most, noise}});
  }
}

void add_others(std::vector<Figure>& figures, const Measured& measured) {
  const auto add = [&](const char* metric, const char* title, double most, double noise) {
    figures.push_back({.title = title,
                       .measured = measured.values_of(metric),
                       .of_handlers = Aim{most, noise},
                       .of_helper = Aim{most, noise}});
  };
  add("steady_call_ratio", "a call in steady state, pthread stack = 1", 1.02, 0);
  add("oscillate_ratio", "trims while it swings, never trims = 1", 1.2,
      growth_noise(measured, depths.back().label));
  add("oscillate_resident_ratio", "resident after that, most allowed = 1", 1.0, 0);
  for (const auto& [program, title] : {std::pair{"regex", "std::regex, demand_paging = 1"},
                                       std::pair{"json", "JSON, demand_paging = 1"}}) {
    const std::string metric = fmt::format("real_{}_ms", program);
    figures.push_back({.title = title,
                       .measured =
                           [&measured, metric](const std::string& subject) {
                             return measured.ratio(subject, metric, std::string(name(baseline)),
                                                   metric);
                           },
                       .of_handlers = Aim{1.0, growth_noise(measured, depths.back().label)},
                       .of_helper = Aim{1.0, growth_noise(measured, depths.back().label)}});
  }
}

void add_spawn(std::vector<Figure>& figures, const Measured& measured) {
  const double noise = noise_of(measured, std::string(boost_pooled_name), "spawn_noise");
  figures.push_back({.title = "spawn, boost_pooled_fixedsize = 1",
                     .measured = measured.values_of("spawn_ratio"),
                     .of_handlers = Aim{1.10, noise},
                     .of_helper = Aim{1.10, noise}});
  figures.push_back({.title = "spawn, boost_protected_fixedsize = 1",
                     .measured =
                         [&measured](const std::string& subject) {
                           return measured.ratio(subject, "spawn_ns",
                                                 std::string(boost_protected_name), "spawn_ns");
                         },
                     .of_handlers = Aim{0.01, noise},
                     .of_helper = Aim{0.01, noise}});
  // Meant to be 1.8 times as much at least.
  figures.push_back({.title = "pairs by one thread, by two together = 1",
                     .measured = [&measured](const std::string& subject) -> std::optional<double> {
                       const auto gain = measured.value(subject, "spawn_threads_ratio");
                       return gain ? std::optional(1 / *gain) : std::nullopt;
                     },
                     .of_handlers = Aim{1 / 1.8, 0},
                     .of_helper = Aim{1 / 1.8, 0}});
}

void add_scale(std::vector<Figure>& figures, const Measured& measured) {
  const auto add = [&](const char* title,
                       std::function<std::optional<double>(const std::string&)> figure, double most,
                       double noise = 0) {
    figures.push_back(
        {.title = title, .measured = std::move(figure), .of_markers = Aim{most, noise}});
  };
  const auto in_kibibytes = [&measured](const char* metric) {
    return [&measured, metric](const std::string& subject) -> std::optional<double> {
      constexpr double kibibyte = 1024;
      const auto bytes = measured.value(subject, metric);
      return bytes ? std::optional(*bytes / kibibyte) : std::nullopt;
    };
  };
  add("KiB for a stack of 64 KiB", in_kibibytes("bytes_per_stack"), 4.3);
  add("KiB for a stack of 8 MiB", in_kibibytes("bytes_per_stack_8MiB"), 8.4);
  add("mappings of all stacks of 64 KiB", measured.values_of("vmas"), 8);
  add("mappings of all stacks of 8 MiB", measured.values_of("vmas_8MiB"), 8);
  add("resident after a burst, warm stacks = 1", measured.values_of("rss_after_burst_ratio"), 1.1);
  add("pages of an idle fiber, trimmed", measured.values_of("rss_idle_fiber_pages"), 2);
  add("one fault among stacks, no other = 1", measured.values_of("fault_latency_ratio"), 1.10,
      noise_of(measured, guard_markers, "fault_latency_noise"));
}

std::string verdict(double measured, const Aim& aim) {
  const double beyond = std::log(measured / aim.most);
  return std::abs(beyond) < aim.noise ? "~" : beyond <= 0 ? " " : "!";
}

std::string in_digits(double ratio) {
  return ratio < 0.3 ? fmt::format("{:.3f}", ratio) : fmt::format("{:.2f}", ratio);
}

/// The figure and what became of it, or nothing.
std::string cell(const Figure& figure, const std::optional<Aim>& aim, const char* subject) {
  const auto measured = figure.measured(subject);
  return aim && measured ? in_digits(*measured) + " " + verdict(*measured, *aim) : "";
}

std::string cell(const std::optional<Aim>& aim) { return aim ? in_digits(aim->most) : ""; }

}  // namespace

void report_aims(Session& session) {
  const Measured measured(session.rows());
  std::vector<Figure> figures;
  add_growth(figures, measured);
  add_faults(figures, measured);
  add_others(figures, measured);
  add_spawn(figures, measured);
  add_scale(figures, measured);
  Table table({"at most", "aim", in_handler, guard_markers, "aim", pipe_helper}, 1);
  bool any = false;
  for (const Figure& figure : figures) {
    const std::vector<std::string> found{
        cell(figure, figure.of_handlers, in_handler),
        cell(figure, figure.of_handlers_or_markers(), guard_markers),
        cell(figure, figure.of_helper, pipe_helper)};
    if (std::any_of(found.begin(), found.end(),
                    [](const std::string& each) { return !each.empty(); })) {
      any = true;
      table.add({figure.title, cell(figure.of_handlers_or_markers()), found[0], found[1],
                 cell(figure.of_helper), found[2]});
    }
  }
  if (!any) {
    return;
  }
  session.print_title(
      "AIMS", "What is meant to be reached on a machine of its own, and what was reached here.");
  session.print(table);
  session.print_sentences(
      {"!: missed. ~: nearer to the aim than the same measured twice differs (one fault: than its "
       "processes differ), so "
       "not resolved. The others are reached."});
}

}  // namespace growstack::compare
