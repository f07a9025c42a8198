// What strategies that grow by our handlers are meant to reach, beside what they reached.
#pragma once

#include "run/row.hpp"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace growstack::compare {

class Session;

/// Reads a subject's figure from the rows; nothing if it was not measured.
using Reading = std::function<std::optional<double>(const Rows& rows, const std::string& subject)>;

/// Returns how far from an aim a figure must be to mean anything; 0.03 means 3 %.
using Noise = std::function<double(const Rows& rows)>;

/// One line of the table of aims. A figure is meant to be at most as large as its aim.
struct Aim {
  std::string title;
  Reading figure;
  Noise noise{};                     ///< none: every difference means something
  std::optional<double> handlers{};  ///< the aim of in_handler and guard_markers
  std::optional<double> markers{};   ///< the aim of guard_markers alone
  std::optional<double> helper{};    ///< the aim of pipe_helper
};

/// Reads a metric.
[[nodiscard]] Reading value_of(const std::string& metric);
/// Reads a metric divided by the same metric of another subject.
[[nodiscard]] Reading ratio_to(const std::string& base_subject, const std::string& metric);
/// Reads from a metric how far a subject that was measured twice differs from itself.
[[nodiscard]] Noise noise_in(const std::string& subject, const std::string& metric);

/// Prints the aims of all measurements of which there are figures.
void report_aims(Session& session);

}  // namespace growstack::compare
