// The child's side. Programs of bench/peers use it, too.
#include "first/lines.hpp"

#include "parts/samples.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace growstack::compare {
namespace {

bool is_part_of(const Line& whole, const std::string& name) {
  return std::any_of(whole.beside.parts.begin(), whole.beside.parts.end(),
                     [&](const Beside::Part& part) { return part.line == name; });
}

/// Adds a second one of each time that another one is compared with, to know what differences mean.
void add_twins(Lines& lines) {
  const Lines all = lines;
  for (const Line& each : all) {
    const bool is_time = each.fixed_times.full == 0;
    if (is_time && std::any_of(all.begin(), all.end(),
                               [&](const Line& other) { return is_part_of(other, each.name); })) {
      Line& twin = lines.emplace_back(each);
      twin.name = again(each.name);
      twin.beside = {};
    }
  }
}

void warm_up(Line& line, bool quick) {
  line.time = line.prepare();
  line.times = quick ? line.fixed_times.quick : line.fixed_times.full;
  if (line.times == 0) {
    line.choose_times();
  }
}

/// Returns the best of three: other work of the machine disturbs fewer short times than long ones.
double sample_of(const Line& line) {
  if (line.fixed_times.full != 0 || line.with_rare_costs) {
    return line.time(line.times);
  }
  const unsigned third = std::max(1U, line.times / 3);
  return std::min({line.time(third), line.time(third), line.time(third)});
}

/// The part of the rounds whose times are shorter than the one that counts.
double part_of(const Line& line) { return line.in_fastest_rounds ? 0.1 : 0.5; }

/// Returns what a line is compared with, in each round; nothing if a part of it was refused.
std::vector<double> samples_of(const Beside& beside, const Lines& all, std::size_t rounds) {
  std::vector<double> sum(rounds, beside.plus);
  for (const Beside::Part& part : beside.parts) {
    const std::vector<double>& its = find(all, part.line)->nanoseconds;
    if (its.size() != rounds) {
      return {};
    }
    for (std::size_t round = 0; round < rounds; ++round) {
      sum[round] += part.times * its[round];
    }
  }
  return sum;
}

std::optional<double> ratio_of(const Line& line, const std::vector<double>& beside) {
  if (line.in_fastest_rounds && beside.size() == line.nanoseconds.size()) {
    return bench::percentile(line.nanoseconds, part_of(line)) /
           bench::percentile(beside, part_of(line));
  }
  return bench::median_ratio(line.nanoseconds, beside);
}

/// Returns how far what a line is compared with differs from itself, as a ratio.
std::optional<double> noise_of(const Line& line, const Lines& all) {
  const Line* const twin = find(all, again(line.name));
  return twin != nullptr ? ratio_of(*twin, line.nanoseconds) : std::nullopt;
}

double largest_noise(const Beside& beside, const Lines& all) {
  double most = 0;
  for (const Beside::Part& part : beside.parts) {
    most = std::max(most, bench::from_one(noise_of(*find(all, part.line), all).value_or(1)));
  }
  return most;
}

nlohmann::json result_of(const Line& line, const Lines& all) {
  if (!line.refusal.empty()) {
    return {{"name", line.name}, {"refusal", line.refusal}};
  }
  nlohmann::json result{{"name", line.name},
                        {"figure", bench::percentile(line.nanoseconds, part_of(line))}};
  set(result, "noise", noise_of(line, all));
  if (line.beside.parts.empty() && line.beside.plus == 0) {
    return result;
  }
  const auto beside = samples_of(line.beside, all, line.nanoseconds.size());
  const auto ratio = ratio_of(line, beside);
  set(result, "ratio", ratio);
  double noise = largest_noise(line.beside, all);
  if (const auto interval = bench::median_ratio_interval(line.nanoseconds, beside)) {
    const bool contains_aim = interval->first <= line.at_most && line.at_most <= interval->second;
    noise = line.mark_by_interval && contains_aim ? HUGE_VAL : noise;
    result["interval"] = fmt::format("{:.3f} to {:.3f}", interval->first, interval->second);
  }
  if (ratio) {
    result["beside"] = bench::percentile(beside, part_of(line));
  }
  if (ratio && line.at_most != 0) {
    result["at_most"] = line.at_most;
    result["aim"] = fmt::format("{:.2f} {:1}", line.at_most, mark_of(*ratio, line.at_most, noise));
  }
  return result;
}

}  // namespace

Line plain_line(std::string name, std::string_view subject, std::string section, std::string metric,
                std::function<Timing()> prepare) {
  Line line;
  line.name = std::move(name);
  line.subject = subject;
  line.section = std::move(section);
  line.metric = std::move(metric);
  line.prepare = std::move(prepare);
  return line;
}

Line line_with_aim(Line plain, Beside beside, double at_most) {
  plain.beside = std::move(beside);
  plain.at_most = at_most;
  return plain;
}

nlohmann::json measure_lines(Lines lines, const nlohmann::json& request, Progress& progress) {
  add_twins(lines);
  Turns turns(progress);
  const bool quick = request.at("quick");
  turns.take(1, "first:", lines, [&](Line& line) { warm_up(line, quick); });
  turns.take(request.at("rounds"), "first:", lines,
             [](Line& line) { line.nanoseconds.push_back(sample_of(line)); });
  auto results = nlohmann::json::array();
  for (const Line& each : lines) {
    results.push_back(result_of(each, lines));
  }
  return results;
}

}  // namespace growstack::compare
