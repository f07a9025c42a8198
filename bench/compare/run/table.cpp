#include "run/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace growstack::compare {
namespace {

constexpr std::size_t gap = 2;  // between columns

std::string without_trailing_spaces(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

}  // namespace

// The titles stand on the line below: shorter ones have empty lines above them.
Table::Table(std::vector<std::string> titles, std::size_t word_columns)
    : word_columns_(word_columns) {
  for (const std::string& title : titles) {
    title_lines_ = std::max(
        title_lines_, static_cast<std::size_t>(std::count(title.begin(), title.end(), '\n')) + 1);
  }
  std::vector<std::vector<std::string>> pieces(title_lines_,
                                               std::vector<std::string>(titles.size()));
  for (std::size_t column = 0; column < titles.size(); ++column) {
    std::string& rest = titles[column];
    for (std::size_t line = title_lines_; line-- > 0;) {
      const std::size_t cut = rest.rfind('\n');
      pieces[line][column] = cut == std::string::npos ? rest : rest.substr(cut + 1);
      rest.erase(cut == std::string::npos ? 0 : cut);
    }
  }
  for (std::vector<std::string>& line : pieces) {
    add(std::move(line));
  }
}

void Table::add(std::vector<std::string> cells) {
  lines_.push_back({Line::Kind::cells, std::move(cells)});
}

void Table::add_sentence(std::vector<std::string> words, std::string sentence) {
  words.push_back(std::move(sentence));
  lines_.push_back({Line::Kind::sentence, std::move(words)});
}

void Table::add_heading(std::string heading) {
  lines_.push_back({Line::Kind::heading, {std::move(heading)}});
}

std::vector<std::size_t> Table::widths() const {
  std::vector<std::size_t> widths(lines_.front().cells.size());
  for (const Line& line : lines_) {
    if (line.kind == Line::Kind::heading) {
      continue;
    }
    const std::size_t columns = line.cells.size() - (line.kind == Line::Kind::sentence ? 1 : 0);
    for (std::size_t column = 0; column < columns; ++column) {
      widths[column] = std::max(widths[column], line.cells[column].size());
    }
  }
  return widths;
}

std::string Table::laid_out(const Line& line, const std::vector<std::size_t>& widths) const {
  if (line.kind == Line::Kind::heading) {
    return line.cells.front();
  }
  std::string text;
  for (std::size_t column = 0; column < line.cells.size(); ++column) {
    const std::string& cell = line.cells[column];
    text += std::string(column == 0 ? 0 : gap, ' ');
    if (line.kind == Line::Kind::sentence && column + 1 == line.cells.size()) {
      text += folded(cell, text.size(), text.size());
    } else {
      text += column < word_columns_ ? fmt::format("{:<{}}", cell, widths[column])
                                     : fmt::format("{:>{}}", cell, widths[column]);
    }
  }
  return without_trailing_spaces(text);
}

std::string Table::text() const {
  const std::vector<std::size_t> all = widths();
  std::vector<std::string> laid_out_lines;
  std::size_t longest = 0;
  for (const Line& line : lines_) {
    laid_out_lines.push_back(laid_out(line, all));
    longest = std::max(longest, std::min(laid_out_lines.back().size(), text_width));
  }
  std::string text;
  for (std::size_t line = 0; line < laid_out_lines.size(); ++line) {
    text += (line == title_lines_ ? std::string(longest, '-') + "\n" : "") + laid_out_lines[line] +
            "\n";
  }
  return text;
}

std::string grouped(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3; at -= 3) {
    text.insert(text.begin() + static_cast<std::ptrdiff_t>(at) - 3, ',');
  }
  return text;
}

std::string grouped(double number) {
  return grouped(static_cast<std::uint64_t>(std::llround(number)));
}

std::string short_number(double number) {
  if (number >= 99.95) {
    return grouped(number);
  }
  return fmt::format("{:.{}f}", number, number >= 9.995 ? 1 : 2);
}

std::string in_percent(double ratio) { return fmt::format("{:.1f} %", 100 * std::abs(ratio - 1)); }

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

std::string folded(std::string_view text, std::size_t indent, std::size_t first_column) {
  std::string result;
  std::size_t column = first_column;
  bool starts_line = true;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (!starts_line && column + 1 + word.size() > text_width) {
      result += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (!starts_line) {
      result += ' ';
      ++column;
    }
    result += word;
    column += word.size();
    starts_line = false;
  }
  return result;
}

}  // namespace growstack::compare
