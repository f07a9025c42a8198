#include "subjects/subject.hpp"

#include "parts/neighbour.hpp"
#include "run/child.hpp"
#include "run/table.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <stdexcept>

namespace growstack::compare {
namespace {

Subject stack_peer(std::string_view name, const char* description) {
  return {.name = std::string(name),
          .description = description,
          .least_kernel = "any",
          .makes_stacks = true};
}

/// Returns a peer that is a program of its own, which may not have been built.
Subject program_peer(std::string_view name, const char* description, const char* missing) {
  return {.name = std::string(name),
          .description = description,
          .least_kernel = "any",
          .unsupported = bench::has_neighbour("growstack_" + std::string(name))
                             ? ""
                             : fmt::format("not built: install {} and build again", missing)};
}

std::vector<Subject> peers() {
  return {stack_peer(glibc_thread_name,
                     "a thread on a stack of a fixed size that glibc makes "
                     "(pthread_attr_setstacksize)"),
          stack_peer(glibc_setstack_name,
                     "a thread on memory that its owner mapped (pthread_attr_setstack): no guard"),
          stack_peer(boost_fixedsize_name, "Boost.Context: malloc, no guard"),
          stack_peer(boost_protected_name,
                     "Boost.Context: mmap and a guard page; under NDEBUG it does not notice when "
                     "mprotect fails, and then has no guard"),
          stack_peer(boost_pooled_name, "Boost.Context: malloc through a pool, no guard"),
          program_peer(split_stack_name,
                       "gcc -fsplit-stack: each function asks for room, and gets it as another "
                       "piece of stack",
                       "lld, or binutils with ld.gold,"),
          program_peer(libsigsegv_name,
                       "GNU libsigsegv: passes a fault to the handler of its region (ONE FAULT "
                       "only)",
                       "libsigsegv-dev"),
          {.name = std::string(bare_handler_name),
           .description = "a SIGSEGV handler that only calls mprotect: the least that growth by "
                          "fault can cost",
           .least_kernel = "any"}};
}

}  // namespace

std::vector<Subject> all_subjects(const Progress& progress) {
  std::vector<Subject> all;
  for (const StrategyDescription& each : strategies()) {
    const std::string name(each.name);
    const Answer answer = ask_child("try_strategy", {{"strategy", name}}, progress);
    const bool answered = answer.failure.empty();
    all.push_back({.name = name,
                   .description = std::string(each.description),
                   .least_kernel = std::string(each.least_kernel),
                   .strategy = each.strategy,
                   .unsupported = answered ? answer.result.at("unsupported").get<std::string>()
                                           : answer.whole_failure(),
                   .lacking = answered ? answer.result.at("lacking").get<std::string>() : "",
                   .makes_stacks = true});
  }
  const std::vector<Subject> others = peers();
  all.insert(all.end(), others.begin(), others.end());
  return all;
}

std::vector<std::string> all_subject_names() {
  std::vector<std::string> names;
  for (const StrategyDescription& each : strategies()) {
    names.emplace_back(each.name);
  }
  for (const Subject& peer : peers()) {
    names.push_back(peer.name);
  }
  return names;
}

bool is_strategy(std::string_view name, Trait trait) {
  const std::optional<Strategy> strategy = strategy_from_name(name);
  return strategy && trait(*describe(*strategy));
}

void raise_limits_for_stacks(std::uint64_t bytes) {
  bench::raise_stack_limit(bytes);
  bench::raise_lock_limit();
}

std::string stack_limit_note(const Subject& subject, std::uint64_t bytes) {
  const auto raised = [](const char* name, const rlimit& limit, rlim_t to) {
    return fmt::format("{} raised from {} to {}", name, in_units(limit.rlim_cur),
                       to == RLIM_INFINITY ? "unlimited" : in_units(to));
  };
  rlimit limit{};
  if (is_strategy(subject.name, needs_stack_limit) && getrlimit(RLIMIT_STACK, &limit) == 0 &&
      limit.rlim_cur < bytes) {
    return raised("RLIMIT_STACK", limit, std::min<rlim_t>(bytes, limit.rlim_max));
  }
  if (is_strategy(subject.name, needs_lock_limit) && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
      limit.rlim_cur < limit.rlim_max) {
    return raised("RLIMIT_MEMLOCK", limit, limit.rlim_max);
  }
  return {};
}

bench::Pages pages_taken_by(std::string_view subject, std::uint64_t depth,
                            const GrowthPolicy& policy) {
  const bool may_be_huge =
      policy.huge_from != 0 &&
      is_strategy(subject, [](const StrategyDescription& each) { return each.huge_pages; });
  return may_be_huge && depth > policy.huge_from ? bench::Pages::huge : bench::Pages::single;
}

std::string without_name(const std::string& error, const std::string& subject) {
  const std::string prefix = "growstack: " + subject + ": ";
  return error.starts_with(prefix) ? error.substr(prefix.size()) : error;
}

Strategy strategy_named(const std::string& name) {
  const std::optional<Strategy> found = strategy_from_name(name);
  if (!found) {
    throw std::invalid_argument("no strategy of the name " + name);
  }
  return *found;
}

nlohmann::json try_strategy(const nlohmann::json& request, Progress&) {
  bench::raise_lock_limit();
  const Support support = supported(strategy_named(request.at("strategy")));
  return {{"unsupported", support.works ? "" : support.reason},
          {"lacking", support.works ? support.reason : ""}};
}

}  // namespace growstack::compare
