// The command line.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace growstack::compare {

struct Options {
  std::string json_file;   ///< receives all rows; empty for no file
  std::string notes_file;  ///< receives the tables of the group promises as Markdown; empty for no
                           ///< file
  bool quick = false;
  bool slow = false;  ///< also measures what waits for the kernel's background work
  bool aims = false;  ///< also prints the table of aims
  bool list = false;
  std::vector<std::string> only;           ///< names of subjects; empty for all
  std::vector<std::string> groups;         ///< names of groups; empty for all
  std::optional<unsigned> rounds;          ///< of each measurement; none: --quick decides
  std::optional<std::size_t> most_stacks;  ///< of the group scale; none: --quick decides
};

/// Returns what the command line asks for. Returns nothing if the program must end now with
/// `exit_code`: after --help, or after a message about a mistake.
[[nodiscard]] std::optional<Options> parse_options(int argc, char** argv,
                                                   const std::vector<std::string>& subjects,
                                                   const std::vector<std::string>& groups,
                                                   int& exit_code);

}  // namespace growstack::compare
