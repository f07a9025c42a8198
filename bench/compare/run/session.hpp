// One run of the comparison: what was asked, who takes part, what came out so far.
#pragma once

#include "run/options.hpp"
#include "run/progress.hpp"
#include "run/row.hpp"
#include "run/table.hpp"
#include "subjects/subject.hpp"

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace growstack::compare {

class Session {
 public:
  Session(Options options, std::vector<Subject> subjects, Progress& progress);

  [[nodiscard]] const Options& options() const noexcept { return options_; }
  [[nodiscard]] Progress& progress() const noexcept { return progress_; }
  [[nodiscard]] const std::vector<Row>& rows() const noexcept { return rows_; }

  /// Those that --only names, or all: strategies, whatever make_stack knows, and a peer by its
  /// name.
  [[nodiscard]] std::vector<Subject> strategies() const;
  /// Of the strategies those of which it is true.
  [[nodiscard]] std::vector<Subject> strategies(
      const std::function<bool(Strategy)>& takes_part) const;
  [[nodiscard]] std::vector<Subject> stacks() const;
  [[nodiscard]] std::optional<Subject> peer(std::string_view name) const;
  [[nodiscard]] bool includes(std::string_view name) const;

  /// What a strategy lacks here though it works, whether or not --only names it; empty for nothing.
  [[nodiscard]] std::string lacking(Strategy strategy) const;

  /// How often to measure: --rounds, or one of these two.
  [[nodiscard]] unsigned rounds(unsigned full, unsigned quick) const;

  /// How many stacks at once: one of these two, and no more than --stacks.
  [[nodiscard]] std::size_t stacks_at_once(std::size_t full, std::size_t quick) const;

  void add(Row row) { rows_.push_back(std::move(row)); }
  /// A value that could not be measured, for each of the metrics.
  void add_missing(const std::string& subject, std::span<const std::string> metrics,
                   const std::string& reason);

  /// Prints to standard output.
  void print_title(std::string_view title, std::string_view what);
  void print(const Table& table);
  void print_sentences(const std::vector<std::string>& sentences);

 private:
  Options options_;
  std::vector<Subject> subjects_;
  Progress& progress_;
  std::vector<Row> rows_;
};

}  // namespace growstack::compare
