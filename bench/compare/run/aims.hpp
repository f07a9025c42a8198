// What strategies that grow by our handlers are meant to reach, beside what they reached.
#pragma once

#include "run/row.hpp"

#include <cmath>
#include <functional>
#include <optional>
#include <string>

namespace growstack::compare {

/// Reads a subject's figure from the rows; nothing if it was not measured.
using Reading = std::function<std::optional<double>(const Rows& rows, const std::string& subject)>;

/// Returns how far from an aim a figure must be to mean anything; 0.03 means 3 %.
using Noise = std::function<double(const Rows& rows)>;

/// A figure is meant to be at most so large; none: it has no aim for that strategy.
struct AtMost {
  std::optional<double> handlers{};  ///< for in_handler and guard_markers
  std::optional<double> helper{};    ///< for pipe_helper
  std::optional<double> markers{};   ///< for guard_markers alone
};

[[nodiscard]] constexpr AtMost for_all(double most) { return {.handlers = most, .helper = most}; }
[[nodiscard]] constexpr AtMost for_markers(double most) { return {.markers = most}; }

/// One line of the table of aims.
struct Aim {
  std::string title;
  Reading figure;
  AtMost at_most;
  Noise noise{};  ///< none: every difference means something
};

/// Returns how a figure and its aim are marked in a table: "!" if it is missed, "~" if the figure
/// is nearer to the aim than `noise`, nothing if it is reached.
[[nodiscard]] inline const char* mark_of(double figure, double at_most, double noise) {
  const double excess = std::log(figure / at_most);
  return std::abs(excess) < noise ? "~" : excess <= 0 ? "" : "!";
}
inline constexpr const char* what_marks_mean =
    "!: missed. ~: not resolved, because the figure is nearer to the aim than the same thing "
    "measured twice differs. All others are reached.";

/// Reads a metric.
[[nodiscard]] Reading value_of(const std::string& metric);
/// Reads a metric divided by the same metric of another subject.
[[nodiscard]] Reading ratio_to(const std::string& base_subject, const std::string& metric);
/// Reads from a metric how far a subject that was measured twice differs from itself.
[[nodiscard]] Noise noise_in(const std::string& subject, const std::string& metric);

}  // namespace growstack::compare
