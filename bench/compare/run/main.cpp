// growstack_compare: compares the strategies, on the machine on which it runs.
#include "parts/neighbour.hpp"
#include "run/child.hpp"
#include "run/machine.hpp"
#include "run/measurement.hpp"
#include "run/which_strategy.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
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
  Table table({"name", "kind", "Linux", "here", "what it is"}, 4);
  for (const Subject& subject : subjects) {
    const std::string& reason = subject.unsupported.empty() ? subject.lacking : subject.unsupported;
    table.add_sentence({subject.name, subject.strategy ? "strategy" : "peer", subject.least_kernel,
                        !subject.unsupported.empty() ? "no"
                        : subject.lacking.empty()    ? "yes"
                                                     : "partly"},
                       subject.description + (reason.empty() ? "" : " -- here: " + reason));
  }
  fmt::print("{}", table.text());
}

/// Opens the file before an hour of measuring, so that a mistake in its name shows at once.
std::ofstream open_json(const std::string& path) {
  std::ofstream file;
  if (!path.empty()) {
    file.open(path, std::ios::trunc);
    if (!file) {
      throw std::runtime_error(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
    }
  }
  return file;
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
  std::ofstream json = open_json(options.json_file);
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
    json << session.rows().to_json().dump(2) << '\n';
    json.close();
    if (!json) {
      throw std::runtime_error("cannot write " + options.json_file);
    }
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
