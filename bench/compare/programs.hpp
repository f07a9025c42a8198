// Real code that recurses as deep as its input is long, and dies of it on an ordinary thread.
#pragma once

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
  const char* name;                    ///< "regex", as in "real_regex_ok"
  const char* title;                   ///< for a table
  std::unique_ptr<Program> (*make)();  ///< prepares the input
};

[[nodiscard]] std::span<const ProgramDescription> programs();

/// Throws std::invalid_argument.
[[nodiscard]] const ProgramDescription& program_named(const std::string& name);

}  // namespace growstack::compare
