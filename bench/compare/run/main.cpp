// growstack_compare: compares the strategies, on the machine on which it runs.
#include "parts/errors.hpp"
#include "parts/neighbour.hpp"
#include "run/child.hpp"
#include "run/measurement.hpp"
#include "run/reports.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>

namespace growstack::compare {
namespace {

/// The child's task that becomes the program of a peer.
nlohmann::json run_program(const nlohmann::json& request, Progress&) {
  bench::become_neighbour(request.at("program"), request.at("request"));
}

std::vector<Task> tasks() {
  std::vector<Task> all{{"try_strategy", try_strategy}, {"program", run_program}};
  for (const Measurement& measurement : measurements()) {
    all.push_back({measurement.name, measurement.measure});
  }
  return all;
}

std::vector<std::string> group_names() {
  std::vector<std::string> names;
  for (const Measurement& measurement : measurements()) {
    if (names.empty() || names.back() != measurement.group) {
      names.emplace_back(measurement.group);
    }
  }
  return names;
}

void print_list(const std::vector<Subject>& subjects) {
  Table table({"name", "kind", "Linux", "here", "what it is"}, 5);
  for (const Subject& each : subjects) {
    const std::string& reason = each.unsupported.empty() ? each.lacking : each.unsupported;
    table.add({each.name, each.strategy ? "strategy" : "peer", each.least_kernel,
               !each.unsupported.empty() ? "no"
               : each.lacking.empty()    ? "yes"
                                         : "partly",
               each.description + (reason.empty() ? "" : " -- here: " + reason)});
  }
  fmt::print("{}", table.text());
}

void run(const Options& options) {
  Progress progress(Progress::terminal_for_errors());
  progress.say("trying the strategies");
  std::vector<Subject> subjects = all_subjects(progress);
  progress.clear();
  if (options.list) {
    print_list(subjects);
    return;
  }
  std::ofstream json(options.json_file);  // opened first, so that a wrong name costs no run
  bench::require(json.is_open() || options.json_file.empty(), "cannot write the file for --json");
  Session session(options, std::move(subjects), progress);
  report_machine(session);
  const auto& wanted = options.groups;
  for (const Measurement& measurement : measurements()) {
    if (wanted.empty() ||
        std::find(wanted.begin(), wanted.end(), measurement.group) != wanted.end()) {
      compare(measurement, session);
    }
  }
  if (options.aims) {
    report_aims(session);
  }
  report_which_strategy(session);
  if (json.is_open()) {
    json << session.rows().to_json().dump(2) << std::endl;
    bench::require(json.good(), "cannot write the file for --json");
  }
}

}  // namespace
}  // namespace growstack::compare

int main(int argc, char** argv) {
  using namespace growstack::compare;
  int exit_code = EXIT_SUCCESS;
  if (serve_as_child(argc, argv, tasks(), exit_code)) {
    return exit_code;
  }
  try {
    if (const auto options =
            parse_options(argc, argv, all_subject_names(), group_names(), exit_code)) {
      run(*options);
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "growstack_compare: {}\n", error.what());
    exit_code = EXIT_FAILURE;
  }
  return exit_code;
}
