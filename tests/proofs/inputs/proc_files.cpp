// What is read from /proc: the text of an input stands in for the kernel's. The lines of maps have
// names that others chose, so these are hostile.
#include "input.hpp"

#include "memory/proc_text.hpp"
#include "memory/vm.hpp"

#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

namespace growstack::inputs {
namespace {

/// What /proc/self/maps has.
std::string maps;

struct Mapping {
  std::uintptr_t begin;
  std::uintptr_t end;
};

/// A name as the kernel shows it: any letters, newlines of files as \012. It may be long, because
/// each newline is shown as four letters.
std::string any_name(Input& input) {
  std::string name;
  const std::size_t pieces = input.from(0, 3);
  for (std::size_t count = 0; count < pieces; ++count) {
    // Some look like the beginning of a line.
    std::string piece = input.flag() ? "1-" + std::to_string(input.magnitude(0, UINT64_MAX)) + " "
                                     : std::string(input.text(40));
    const std::size_t times =
        input.from(0, 7) != 0 ? 1 : input.from(1, 5000) / (piece.size() + 1) + 1;
    for (std::size_t time = 0; time < times; ++time) {
      name += piece;
    }
  }
  std::string shown;
  for (const char letter : name) {
    if (letter == '\n') {
      shown += "\\012";
    } else if (letter != '\0') {
      shown += letter;
    }
  }
  return shown;
}

void try_maps(Input& input) {
  std::vector<Mapping> mappings;
  maps.clear();
  std::uintptr_t at = 0;
  while (!input.is_over() && mappings.size() < 8) {
    const std::uintptr_t begin = at + input.magnitude(0, std::uint64_t{1} << 44) * 4096;
    const std::uintptr_t end = begin + input.magnitude(1, std::uint64_t{1} << 30) * 4096;
    if (end >= std::uintptr_t{1} << 47) {
      break;
    }
    at = end;
    mappings.push_back({begin, end});
    char line[100];
    static_cast<void>(std::snprintf(line, sizeof line, "%08lx-%08lx %s %08lx 00:%02x %-20u ", begin,
                                    end, input.flag() ? "rw-p" : "---p", 0UL, 1U, 4711U));
    maps += line + any_name(input) + "\n";
  }
  std::uintptr_t address = input.magnitude(0, std::uint64_t{1} << 47);
  if (!mappings.empty() && input.from(0, 7) != 0) {
    const Mapping& near = mappings[input.from(0, mappings.size() - 1)];
    address = (input.flag() ? near.begin : near.end) - input.from(0, 1);
  }
  std::uintptr_t expected = 0;
  for (const Mapping& each : mappings) {
    expected = each.begin <= address && address < each.end ? each.begin : expected;
  }
  require_equal(vm::mapping_start(address), expected,
                "a mapping is found, whatever the names of others are");
}

/// A line "Name:   123 kB", and what may stand there instead.
void try_status(Input& input) {
  const std::uint64_t kibibytes = input.magnitude(0, std::uint64_t{1} << 50);
  const std::string before(input.text(20));
  std::string text = input.flag() ? "Name:\t" + before + "\n" : std::string();
  text = text.substr(0, text.find('\n', text.empty() ? 0 : 1)) + (text.empty() ? "" : "\n");
  const bool has_line = input.flag();
  if (has_line) {
    text += "VmSize:\t" + std::string(input.from(0, 9), ' ') + std::to_string(kibibytes) + " kB\n";
  }
  text += "VmSizeX:\t12 kB\nVmData:\tnone\n";
  std::istringstream status(text);
  require_equal(bytes_in_line(status, "VmSize:"), has_line ? kibibytes * 1024 : 0,
                "the number of a line is read in bytes");
  std::istringstream again(text);
  require_equal(bytes_in_line(again, "VmData:"), 0, "a line without a number has none");
  std::istringstream any(std::string(input.text(200)));
  static_cast<void>(bytes_in_line(any, "VmSize:"));  // does not throw
}

}  // namespace

void try_input(Input& input) {
  if (input.flag()) {
    return try_maps(input);
  }
  try_status(input);
}

}  // namespace growstack::inputs

extern "C" {

std::FILE* __real_fopen(const char* path, const char* mode);
std::FILE* __wrap_fopen(const char* path, const char* mode);

std::FILE* __wrap_fopen(const char* path, const char* mode) {
  std::string& maps = growstack::inputs::maps;
  if (std::string_view(path) != "/proc/self/maps") {
    return __real_fopen(path, mode);
  }
  return fmemopen(maps.empty() ? const_cast<char*>("\n") : maps.data(),
                  maps.empty() ? 1 : maps.size(), "r");
}
}
