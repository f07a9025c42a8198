// What text files of /proc say. The text is an argument, so that any text can be tried.
#pragma once

#include <cstdint>
#include <istream>
#include <string>
#include <string_view>

namespace growstack {

/// Returns the value of the first line "Name:   123 kB" in bytes, where `name` is "Name:"; or 0 if
/// there is no such line, or no number in it.
[[nodiscard]] inline std::uint64_t bytes_in_line(std::istream& lines, std::string_view name) {
  for (std::string word; lines >> word; std::getline(lines, word)) {
    if (word == name) {
      std::uint64_t kibibytes = 0;
      lines >> kibibytes;
      return kibibytes * 1024;
    }
  }
  return 0;
}

}  // namespace growstack
