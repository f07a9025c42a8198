#include "subject.hpp"

#include "child.hpp"
#include "table.hpp"

#include <fmt/format.h>

#include <sys/resource.h>

#include <algorithm>
#include <stdexcept>

namespace growstack::compare {
namespace {

std::vector<Subject> peers() {
  return {{.name = std::string(pthread_name), .description = "a plain thread with a fixed stack", .least_kernel = "any"},
          {.name = std::string(bare_handler_name),
           .description = "a SIGSEGV handler with nothing in it but mprotect: the floor of a growth by fault",
           .least_kernel = "any"}};
}

}  // namespace

std::vector<Subject> all_subjects(const Progress& progress) {
  std::vector<Subject> all;
  for (const StrategyDescription& each : strategies()) {
    const std::string name(each.name);
    const Answer answer = ask_child("try_strategy", {{"strategy", name}}, progress);
    all.push_back({.name = name,
                   .description = std::string(each.description),
                   .least_kernel = std::string(each.least_kernel),
                   .strategy = each.strategy,
                   .unsupported = answer.failure.empty() ? answer.result.at("unsupported").get<std::string>()
                                                         : answer.whole_failure()});
  }
  for (Subject& peer : peers()) {
    all.push_back(std::move(peer));
  }
  return all;
}

std::vector<std::string> all_subject_names() {
  std::vector<std::string> names;
  for (const StrategyDescription& each : strategies()) {
    names.emplace_back(each.name);
  }
  for (Subject& peer : peers()) {
    names.push_back(std::move(peer.name));
  }
  return names;
}

std::string stack_limit_note(const Subject& subject, std::uint64_t bytes) {
  rlimit limit{};
  if (subject.strategy != Strategy::grows_down || getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur >= bytes) {
    return {};
  }
  return fmt::format("RLIMIT_STACK raised from {} to {}", in_units(limit.rlim_cur),
                     in_units(std::min<rlim_t>(bytes, limit.rlim_max)));
}

Strategy strategy_named(const std::string& name) {
  const std::optional<Strategy> found = strategy_from_name(name);
  if (!found) {
    throw std::invalid_argument("no strategy of the name " + name);
  }
  return *found;
}

nlohmann::json try_strategy(const nlohmann::json& request, Progress&) {
  const Support support = supported(strategy_named(request.at("strategy")));
  return {{"unsupported", support.works ? "" : support.reason}};
}

}  // namespace growstack::compare
