// Aligned text for a terminal of 100 columns.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace growstack::compare {

inline constexpr std::size_t text_width = 100;

/// The first columns are words and lean left, the others figures and lean right. ASCII only: a byte
/// is a column.
class Table {
 public:
  /// A title may have several lines.
  Table(std::vector<std::string> titles, std::size_t word_columns);

  void add(std::vector<std::string> cells);
  /// A row that ends with a sentence: it runs on over the columns after the words, folded where the
  /// line ends.
  void add_sentence(std::vector<std::string> words, std::string sentence);
  /// A heading over the rows that follow.
  void add_heading(std::string heading);

  [[nodiscard]] std::string text() const;

 private:
  struct Line {
    enum class Kind { cells, sentence, heading };
    Kind kind;
    std::vector<std::string> cells;
  };

  [[nodiscard]] std::vector<std::size_t> widths() const;
  [[nodiscard]] std::string laid_out(const Line& line,
                                     const std::vector<std::size_t>& widths) const;

  std::size_t word_columns_;
  std::size_t title_lines_ = 0;
  std::vector<Line> lines_;
};

/// 1234567 as "1,234,567".
[[nodiscard]] std::string grouped(std::uint64_t number);
[[nodiscard]] std::string grouped(double number);  ///< rounded

/// With about three significant digits: "0.42", "13.5", "1,234".
[[nodiscard]] std::string short_number(double number);

/// How far a ratio is from 1: "2.8 %".
[[nodiscard]] std::string in_percent(double ratio);

/// Bytes in the largest unit that divides them: "64 MiB".
[[nodiscard]] std::string in_units(std::uint64_t bytes);

/// "a, b and c"
[[nodiscard]] std::string listed(const std::vector<std::string>& words);

/// Folds at spaces so that no line is longer than text_width; the lines after the first begin with
/// `indent` spaces.
[[nodiscard]] std::string folded(std::string_view text, std::size_t indent = 0,
                                 std::size_t first_column = 0);

}  // namespace growstack::compare
