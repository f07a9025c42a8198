#include "run/table.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <sstream>

namespace growstack::compare {
namespace {

constexpr std::size_t gap = 2;  // spaces between columns

Cells split_lines(const std::string& text) {
  Cells lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    lines.push_back(line);
  }
  return lines;
}

}  // namespace

// Titles stand at the bottom of their lines: shorter ones have empty lines above them.
Table::Table(const Cells& titles, std::size_t word_columns) : word_columns_(word_columns) {
  std::vector<Cells> columns;
  for (const std::string& title : titles) {
    columns.push_back(split_lines(title));
    title_lines_ = std::max(title_lines_, columns.back().size());
  }
  for (std::size_t line = 0; line < title_lines_; ++line) {
    Cells cells;
    for (const Cells& column : columns) {
      const std::size_t empty_lines = title_lines_ - column.size();
      cells.push_back(line < empty_lines ? "" : column[line - empty_lines]);
    }
    add(std::move(cells));
  }
}

void Table::add(Cells cells) { lines_.push_back({Line::Kind::cells, std::move(cells)}); }

void Table::add_sentence(Cells words, std::string sentence) {
  words.push_back(std::move(sentence));
  lines_.push_back({Line::Kind::sentence, std::move(words)});
}

void Table::add_heading(std::string heading) {
  lines_.push_back({Line::Kind::heading, {std::move(heading)}});
}

std::vector<std::size_t> Table::widths() const {
  std::vector<std::size_t> widths(lines_.front().cells.size());
  for (const Line& line : lines_) {
    const std::size_t free = line.kind == Line::Kind::cells ? 0 : 1;  // heading, or the sentence
    for (std::size_t column = 0; column + free < line.cells.size(); ++column) {
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
  return text.erase(text.find_last_not_of(' ') + 1);
}

std::string Table::text() const {
  const std::vector<std::size_t> all_widths = widths();
  Cells texts;
  std::size_t longest = 0;
  for (const Line& line : lines_) {
    texts.push_back(laid_out(line, all_widths));
    const bool is_prose = line.kind == Line::Kind::sentence;
    longest = std::max(longest,
                       is_prose ? std::min(texts.back().size(), text_width) : texts.back().size());
  }
  texts.insert(texts.begin() + static_cast<std::ptrdiff_t>(title_lines_),
               std::string(longest, '-'));
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

std::string cell(const std::optional<double>& figure, std::string (*format)(double)) {
  return figure ? format(*figure) : "-";
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
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (result.empty()) {
      result = word;
    } else if (column + 1 + word.size() > text_width) {
      result += "\n" + std::string(indent, ' ');
      result += word;
      column = indent;
    } else {
      result += ' ';
      result += word;
      ++column;
    }
    column += word.size();
  }
  return result;
}

}  // namespace growstack::compare
