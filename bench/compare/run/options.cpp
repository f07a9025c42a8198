#include "run/options.hpp"

#include "run/table.hpp"

#include <CLI/CLI.hpp>

#include <cstdlib>

namespace growstack::compare {

std::optional<Options> parse_options(int argc, char** argv,
                                     const std::vector<std::string>& subjects,
                                     const std::vector<std::string>& groups, int& exit_code) {
  constexpr unsigned most_rounds = 100'000;
  constexpr unsigned most_stacks = 4'000'000;
  constexpr int usage_error = 2;
  Options options;
  CLI::App app("Compares the ways to give a stack its memory, on this machine.",
               "growstack_compare");
  app.get_formatter()->column_width(34);
  app.add_option("--json", options.json_file, "Also write every measured value to this file")
      ->type_name("FILE");
  app.add_option("--notes", options.notes_file,
                 "Also write the tables of the group promises to this file, as Markdown")
      ->type_name("FILE");
  app.add_flag("--quick", options.quick, "Use fewer rounds, positions and stacks");
  app.add_flag("--slow", options.slow,
               "Promises: also wait until khugepaged has scanned all memory twice");
  app.add_flag("--aims", options.aims,
               "Also print what the handlers and the helper are meant to reach (the group first "
               "always prints its aims)");
  const auto add_names = [&](const char* option, std::vector<std::string>& chosen,
                             const std::vector<std::string>& names, const std::string& help) {
    app.add_option(option, chosen, help)
        ->delimiter(',')
        ->allow_extra_args(false)
        ->type_name("NAME[,..]")
        ->check(CLI::IsMember(names).description(""));
  };
  add_names("--only", options.only, subjects,
            "Measure only these strategies and peers (see --list), and demand_paging beside them");
  add_names("--groups", options.groups, groups,
            "Measure only these: " + listed(groups) +
                ". first: fibers, calls and threads as programs use them, with aims");
  app.add_option("--rounds", options.rounds,
                 "Time each growth so often; the deepest ones are timed less often")
      ->type_name("N")
      ->check(CLI::Range(1U, most_rounds).description(""));
  app.add_option("--stacks", options.most_stacks, "Scale: keep at most so many stacks at once")
      ->type_name("N")
      ->check(CLI::Range(1U, most_stacks).description(""));
  app.add_flag("--list", options.list, "List what can be compared, and whether it works here");
  try {
    app.parse(argc, argv);
    return options;
  } catch (const CLI::ParseError& error) {
    exit_code = app.exit(error) == 0 ? EXIT_SUCCESS : usage_error;
    return std::nullopt;
  }
}

}  // namespace growstack::compare
