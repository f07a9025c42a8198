// growstack_compare: the strategies side by side, on the machine it runs on.
#include "run/aims.hpp"
#include "run/child.hpp"
#include "run/group.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <string>
#include <vector>

namespace growstack::compare {
namespace {

constexpr std::array tasks{Task{"try_strategy", try_strategy},
                           Task{"stages", measure_stages},
                           Task{"growth", measure_growth},
                           Task{"split_stack", ask_split_stack},
                           Task{"steady_call", measure_steady_call},
                           Task{"oscillation", measure_oscillation},
                           Task{"growth_threads", measure_growth_threads},
                           Task{"faults", measure_faults},
                           Task{"libsigsegv", ask_libsigsegv},
                           Task{"fault_mappings", measure_fault_mappings},
                           Task{"spawn", measure_spawn},
                           Task{"warm_for_stacks", warm_for_stacks},
                           Task{"live_stacks", measure_live_stacks},
                           Task{"burst", measure_burst},
                           Task{"idle_fibers", measure_idle_fibers},
                           Task{"crowd_faults", measure_crowd_faults},
                           Task{"real", run_real_program},
                           Task{"promise", answer_promise}};

/// "growth" is several: to a depth, calls once it is there, back and forth, by several threads, and
/// one fault.
void compare_growth_and_faults(Session& session) {
  compare_growth(session);
  compare_steady_call(session);
  compare_oscillation(session);
  compare_growth_threads(session);
  compare_faults(session);
  compare_fault_mappings(session);
}

/// "scale" is what becomes of stacks when there are very many.
void compare_scale(Session& session) {
  compare_live_stacks(session);
  compare_burst(session);
  compare_idle_fibers(session);
  compare_crowd_faults(session);
}

constexpr std::array groups{
    Group{"stages", compare_stages},      Group{"growth", compare_growth_and_faults},
    Group{"spawn", compare_spawn},        Group{"scale", compare_scale},
    Group{"real", compare_real_programs}, Group{"promises", compare_promises}};

std::vector<std::string> group_names() {
  std::vector<std::string> names;
  for (const Group& group : groups) {
    names.emplace_back(group.name);
  }
  return names;
}

std::string with_reason(const Subject& subject) {
  const std::string& reason = subject.unsupported.empty() ? subject.lacking : subject.unsupported;
  return subject.description + (reason.empty() ? "" : " -- here: " + reason);
}

void print_list(const std::vector<Subject>& subjects) {
  Table table({"name", "kind", "Linux", "here", "what it is"}, 4);
  for (const Subject& subject : subjects) {
    table.add_sentence({subject.name, subject.strategy ? "strategy" : "peer", subject.least_kernel,
                        !subject.unsupported.empty() ? "no"
                        : subject.lacking.empty()    ? "yes"
                                                     : "partly"},
                       with_reason(subject));
  }
  fmt::print("{}", table.text());
}

/// The file is opened before an hour of measuring, not after it.
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

void write_json(std::ofstream& file, const Session& session) {
  file << to_json(session.rows()).dump(2) << '\n';
  file.close();
  if (!file) {
    throw std::runtime_error("cannot write " + session.options().json_file);
  }
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
  for (const Group& group : groups) {
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), group.name) != wanted.end()) {
      group.run(session);
    }
  }
  report_aims(session);
  if (json.is_open()) {
    write_json(json, session);
  }
}

}  // namespace
}  // namespace growstack::compare

int main(int argc, char** argv) {
  using namespace growstack::compare;
  int exit_code = EXIT_SUCCESS;
  if (serve_as_child(argc, argv, tasks, exit_code)) {
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
