// The command line.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace growstack::compare {

struct Options {
  std::string json_file;
  std::string
      notes_file;  ///< where the group promises writes its tables as Markdown; empty for nowhere
  bool quick = false;
  bool slow = false;  ///< also what waits for the kernel's background work
  bool list = false;
  std::vector<std::string> only;           ///< names of subjects; empty for all
  std::vector<std::string> groups;         ///< names of groups; empty for all
  std::optional<unsigned> rounds;          ///< of each measurement; none: what --quick says
  std::optional<std::size_t> most_stacks;  ///< of the group scale; none: what --quick says
};

/// Nothing if the program is to end now with `exit_code`: after --help, or after a message about
/// what is wrong.
[[nodiscard]] std::optional<Options> parse_options(int argc, char** argv,
                                                   const std::vector<std::string>& subject_names,
                                                   const std::vector<std::string>& group_names,
                                                   int& exit_code);

}  // namespace growstack::compare
