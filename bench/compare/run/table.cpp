#include "run/table.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace growstack::compare {
namespace {

constexpr std::size_t gap = 2;  // spaces between columns

}  // namespace

std::string Table::text() const {
  std::vector<std::size_t> widths(lines_.front().size());
  for (const Cells& line : lines_) {
    for (std::size_t column = 0; column < line.size() && line.size() > 1; ++column) {
      widths[column] = std::max(widths[column], line[column].size());
    }
  }
  Cells texts;
  std::size_t longest = 0;
  for (const Cells& line : lines_) {
    std::string text = line.size() == 1 ? line.front() : "";
    for (std::size_t column = 0; column < line.size() && line.size() > 1; ++column) {
      text += std::string(column == 0 ? 0 : gap, ' ');
      text += column < word_columns_ ? fmt::format("{:<{}}", line[column], widths[column])
                                     : fmt::format("{:>{}}", line[column], widths[column]);
    }
    texts.push_back(text.erase(text.find_last_not_of(' ') + 1));
    longest = std::max(longest, text.size());
  }
  texts.insert(texts.begin() + 1, std::string(longest, '-'));
  return fmt::format("{}\n", fmt::join(texts, "\n"));
}

std::string grouped(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3; at -= 3) {
    text.insert(at - 3, ",");
  }
  return text;
}

std::string grouped(double number) {
  return grouped(static_cast<std::uint64_t>(std::llround(number)));
}

std::string short_number(double number) {
  return number >= 99.95   ? grouped(number)
         : number >= 9.995 ? decimals<1>(number)
                           : decimals<2>(number);
}

std::string yes_or_no(double number) { return number == 1 ? "yes" : "NO"; }

std::string in_units(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 5> units{"bytes", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && bytes % 1024 == 0 && unit + 1 < units.size()) {
    bytes /= 1024;
    ++unit;
  }
  return fmt::format("{} {}", grouped(bytes), units[unit]);
}

std::string listed(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t index = 0; index < words.size(); ++index) {
    text += index == 0 ? "" : index + 1 == words.size() ? " and " : ", ";
    text += words[index];
  }
  return text;
}

std::string folded(std::string_view text, std::size_t indent) {
  std::string result;
  std::size_t column = 0;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    const bool fits = column + 1 + word.size() <= text_width;
    const std::string gap = result.empty() ? "" : fits ? " " : "\n" + std::string(indent, ' ');
    result.append(gap).append(word);
    column = (fits ? column + gap.size() : indent) + word.size();
  }
  return result;
}

}  // namespace growstack::compare
