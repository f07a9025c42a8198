// Text in columns, and the ways in which figures are written.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace growstack::compare {

inline constexpr std::size_t kibibyte = 1024;
inline constexpr std::size_t mebibyte = 1024 * kibibyte;

/// The longest line of prose, in characters. A table may be wider.
inline constexpr std::size_t text_width = 100;

using Cells = std::vector<std::string>;

/// A table. Its first columns are words, aligned on the left; the others are figures, aligned on
/// the right. All text is ASCII, so that one byte takes one column.
class Table {
 public:
  explicit Table(Cells titles, std::size_t word_columns = 1)
      : word_columns_(word_columns), lines_{std::move(titles)} {}

  void add(Cells cells) { lines_.push_back(std::move(cells)); }
  /// Adds a heading for the rows that follow.
  void add_heading(std::string heading) { lines_.push_back({std::move(heading)}); }

  [[nodiscard]] std::string text() const;

 private:
  std::size_t word_columns_;
  std::vector<Cells> lines_;  // one cell is a heading
};

/// Writes 1234567 as "1,234,567". A number with a fraction is rounded.
[[nodiscard]] std::string grouped(std::uint64_t number);
[[nodiscard]] std::string grouped(double number);

/// Writes about three significant digits: "0.42", "13.5", "1,234".
[[nodiscard]] std::string short_number(double number);

/// Writes so many digits after the point.
template <int digits>
[[nodiscard]] std::string decimals(double number) {
  return fmt::format("{:.{}f}", number, digits);
}

/// Writes "yes" for 1 and "NO" for 0.
[[nodiscard]] std::string yes_or_no(double number);

/// Writes bytes in the largest unit that divides them: "64 MiB".
[[nodiscard]] std::string in_units(std::uint64_t bytes);

/// Writes "a, b and c".
[[nodiscard]] std::string listed(const std::vector<std::string>& words);

/// Breaks text at spaces so that no line is longer than text_width. All lines but the first begin
/// with `indent` spaces.
[[nodiscard]] std::string folded(std::string_view text, std::size_t indent = 0);

}  // namespace growstack::compare
