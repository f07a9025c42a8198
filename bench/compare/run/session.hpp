// One run of the comparison: what was asked for, who takes part, and what was measured so far.
#pragma once

#include "run/options.hpp"
#include "run/progress.hpp"
#include "run/row.hpp"
#include "run/table.hpp"
#include "subjects/subject.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace growstack::compare {

class Session {
 public:
  Session(Options options, std::vector<Subject> subjects, Progress& progress);

  [[nodiscard]] const Options& options() const noexcept { return options_; }
  [[nodiscard]] Progress& progress() const noexcept { return progress_; }
  [[nodiscard]] const Rows& rows() const noexcept { return rows_; }

  /// Returns whether --only names the subject, or there is no --only.
  [[nodiscard]] bool includes(std::string_view name) const;
  /// Returns the included strategies; only those of which `takes_part` is true, if it is given.
  [[nodiscard]] std::vector<Subject> strategies(Trait takes_part = nullptr) const;
  /// Returns the included subjects that make_stack knows.
  [[nodiscard]] std::vector<Subject> stacks() const;
  /// Returns the subject of that name if it is included.
  [[nodiscard]] std::optional<Subject> peer(std::string_view name) const;

  /// Returns what a strategy lacks here although it works, included or not; empty for nothing.
  [[nodiscard]] std::string lacking(Strategy strategy) const;

  /// Returns how often to measure: --rounds, or one of these two.
  [[nodiscard]] unsigned rounds(unsigned full, unsigned quick) const;
  /// Returns how many stacks to have at once: one of these two, and at most --stacks.
  [[nodiscard]] std::size_t stacks_at_once(std::size_t full, std::size_t quick) const;

  void add(Row row) { rows_.add(std::move(row)); }

  // These print to standard output.
  void print_title(std::string_view title, std::string_view what);
  void print(const Table& table);
  void print_sentences(const std::vector<std::string>& sentences);

 private:
  template <class Condition>
  [[nodiscard]] std::vector<Subject> included(const Condition& condition) const;

  Options options_;
  std::vector<Subject> subjects_;
  Progress& progress_;
  Rows rows_;
};

}  // namespace growstack::compare
