#include "run/options.hpp"

#include "run/table.hpp"

#include <CLI/CLI.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

namespace growstack::compare {
namespace {

/// Refuses a name that is not in the list, and says what is.
CLI::Validator one_of(const std::string& kind, const std::vector<std::string>& names) {
  return CLI::Validator(
      [kind, names](const std::string& given) {
        return std::find(names.begin(), names.end(), given) != names.end()
                   ? std::string()
                   : fmt::format("there is no {} \"{}\", there are {}", kind, given, listed(names));
      },
      "");
}

}  // namespace

std::optional<Options> parse_options(int argc, char** argv,
                                     const std::vector<std::string>& subject_names,
                                     const std::vector<std::string>& group_names, int& exit_code) {
  constexpr unsigned most_rounds = 100'000;
  constexpr unsigned most_stacks = 4'000'000;
  constexpr int usage_error = 2;
  Options options;
  unsigned rounds = 0;
  unsigned stacks = 0;
  CLI::App app("Compares the ways for a stack to get its memory, on this machine.",
               "growstack_compare");
  app.get_formatter()->column_width(34);
  app.add_option("--json", options.json_file, "Write every measured value to this file as well")
      ->type_name("FILE");
  app.add_option("--notes", options.notes_file,
                 "Write the tables of the group promises to this file, as Markdown")
      ->type_name("FILE");
  app.add_flag("--quick", options.quick, "Fewer rounds, positions and stacks");
  app.add_flag("--slow", options.slow,
               "Promises: also wait until khugepaged has looked at everything twice");
  app.add_option("--only", options.only,
                 "Only these strategies and peers, and demand_paging to compare with (see --list)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("NAME[,..]")
      ->check(one_of("strategy or peer", subject_names));
  app.add_option("--groups", options.groups, "Only these: " + listed(group_names))
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("GROUP[,..]")
      ->check(one_of("group", group_names));
  auto* const given_rounds =
      app.add_option("--rounds", rounds,
                     "How often each growth is timed; the deepest ones are timed less often")
          ->type_name("N")
          ->check(CLI::Range(1U, most_rounds).description(""));
  auto* const given_stacks =
      app.add_option("--stacks", stacks, "Scale: no more than so many stacks live at once")
          ->type_name("N")
          ->check(CLI::Range(1U, most_stacks).description(""));
  app.add_flag("--list", options.list, "What can be compared, and whether it works here");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    exit_code = app.exit(error) == 0 ? EXIT_SUCCESS : usage_error;
    return std::nullopt;
  }
  if (given_rounds->count() > 0) {
    options.rounds = rounds;
  }
  if (given_stacks->count() > 0) {
    options.most_stacks = stacks;
  }
  return options;
}

}  // namespace growstack::compare
