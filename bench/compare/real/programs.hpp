// Real code that recurses as deep as its input is long, and kills an ordinary thread by it.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

namespace growstack::compare {

/// Runs on the calling stack. Returns whether the answer is right.
using Program = std::function<bool()>;

struct ProgramDescription {
  const char* name;   ///< "regex", as in "real_regex_ok"
  const char* title;  ///< for a table, after the size: "letters matched by std::regex"
  Program (*make)(std::size_t size);  ///< prepares the input
};

[[nodiscard]] std::span<const ProgramDescription> programs();

/// Returns the stack that an input needs. For a million, the deepest program takes somewhat less.
[[nodiscard]] constexpr std::size_t stack_needed(std::size_t size) { return size * 1024; }

/// Throws std::invalid_argument if there is no such program.
[[nodiscard]] const ProgramDescription& program_named(const std::string& name);

}  // namespace growstack::compare
