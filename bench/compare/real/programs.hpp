// Real code that recurses as deep as its input is long, and dies of it on an ordinary thread.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace growstack::compare {

class Program {
 public:
  Program() = default;
  virtual ~Program() = default;
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  /// On the stack in question. False if the answer is wrong.
  virtual bool run() = 0;
};

struct ProgramDescription {
  const char* name;   ///< "regex", as in "real_regex_ok"
  const char* title;  ///< for a table, after the size: "letters by std::regex_match"
  std::unique_ptr<Program> (*make)(std::size_t size);  ///< prepares the input
};

[[nodiscard]] std::span<const ProgramDescription> programs();

/// Of a million, the deepest of them takes somewhat less; of fewer, less in proportion.
[[nodiscard]] constexpr std::size_t stack_needed(std::size_t size) { return size * 1024; }

/// Throws std::invalid_argument.
[[nodiscard]] const ProgramDescription& program_named(const std::string& name);

}  // namespace growstack::compare
