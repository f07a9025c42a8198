#include "subjects/subject.hpp"

#include "parts/neighbour.hpp"
#include "run/child.hpp"
#include "run/table.hpp"

#include <fmt/format.h>

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <stdexcept>

namespace growstack::compare {
namespace {

Subject stack_peer(const char* name, const char* description) {
  return {.name = name, .description = description, .least_kernel = "any"};
}

/// One that is a program of its own, if it was built.
Subject program_peer(std::string_view name, const char* description, const char* missing) {
  return {.name = std::string(name),
          .description = description,
          .least_kernel = "any",
          .unsupported = bench::has_neighbour("growstack_" + std::string(name))
                             ? ""
                             : fmt::format("not built: install {} and build again", missing),
          .makes_stacks = false};
}

std::vector<Subject> peers() {
  return {
      stack_peer("glibc_thread",
                 "a thread, with a stack from glibc of a fixed size (pthread_attr_setstacksize)"),
      stack_peer("glibc_thread_setstack",
                 "a thread on memory of its owner's (pthread_attr_setstack): no guard"),
      stack_peer("boost_fixedsize", "Boost.Context: malloc, and no guard"),
      stack_peer("boost_protected_fixedsize",
                 "Boost.Context: mmap and a guard page, or none: that its mprotect failed goes "
                 "unnoticed under NDEBUG"),
      stack_peer("boost_pooled_fixedsize", "Boost.Context: malloc through a pool, and no guard"),
      program_peer(
          split_stack_name,
          "gcc -fsplit-stack: functions ask for room, and get it as another piece of stack",
          "lld, or binutils with ld.gold,"),
      program_peer(libsigsegv_name,
                   "GNU libsigsegv: hands a fault to the handler of its region; one fault only",
                   "libsigsegv-dev"),
      {.name = std::string(bare_handler_name),
       .description =
           "a SIGSEGV handler with nothing in it but mprotect: the floor of a growth by fault",
       .least_kernel = "any",
       .makes_stacks = false}};
}

}  // namespace

std::vector<Subject> all_subjects(const Progress& progress) {
  std::vector<Subject> all;
  for (const StrategyDescription& each : strategies()) {
    const std::string name(each.name);
    const Answer answer = ask_child("try_strategy", {{"strategy", name}}, progress);
    all.push_back(
        {.name = name,
         .description = std::string(each.description),
         .least_kernel = std::string(each.least_kernel),
         .strategy = each.strategy,
         .unsupported = answer.failure.empty() ? answer.result.at("unsupported").get<std::string>()
                                               : answer.whole_failure(),
         .lacking = answer.failure.empty() ? answer.result.at("lacking").get<std::string>() : ""});
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

void raise_limits_for_stacks(std::uint64_t bytes) {
  bench::raise_stack_limit(bytes);
  bench::raise_lock_limit();
}

std::string stack_limit_note(const Subject& subject, std::uint64_t bytes) {
  rlimit limit{};
  if (subject.strategy == Strategy::grows_down && getrlimit(RLIMIT_STACK, &limit) == 0 &&
      limit.rlim_cur < bytes) {
    return fmt::format("RLIMIT_STACK raised from {} to {}", in_units(limit.rlim_cur),
                       in_units(std::min<rlim_t>(bytes, limit.rlim_max)));
  }
  if (subject.strategy == Strategy::locked && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
      limit.rlim_cur < limit.rlim_max) {
    return fmt::format("RLIMIT_MEMLOCK raised from {} to {}", in_units(limit.rlim_cur),
                       limit.rlim_max == RLIM_INFINITY ? "unlimited" : in_units(limit.rlim_max));
  }
  return {};
}

bool grows_in_huge_pages(std::string_view subject) {
  constexpr std::array all{Strategy::pipe_helper, Strategy::in_handler, Strategy::guard_markers};
  return std::any_of(all.begin(), all.end(),
                     [&](Strategy strategy) { return name(strategy) == subject; });
}

bench::Pages pages_taken_by(std::string_view subject, std::uint64_t depth,
                            const GrowthPolicy& policy) {
  const bool may_be_huge = policy.huge_from != 0 && (grows_in_huge_pages(subject) ||
                                                     subject == name(Strategy::demand_paging_huge));
  return may_be_huge && depth > policy.huge_from ? bench::Pages::huge : bench::Pages::single;
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
