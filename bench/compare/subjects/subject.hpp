// Who is compared: the library's strategies, and peers that are none of them.
#pragma once

#include "parts/memory.hpp"
#include "run/progress.hpp"

#include <growstack/growth_policy.hpp>
#include <growstack/strategy.hpp>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace growstack::compare {

struct Subject {
  std::string name;
  std::string description;
  std::string least_kernel;
  std::optional<Strategy> strategy{};  ///< none: a peer
  std::string unsupported{};           ///< why it does not work here; empty if it does
  std::string lacking{};               ///< what it lacks here though it works; empty for nothing
  bool makes_stacks = true;            ///< make_stack (any_stack.hpp) knows it
};

// The peers that some group treats in a way of their own.
inline constexpr std::string_view glibc_thread_name = "glibc_thread";
inline constexpr std::string_view boost_fixedsize_name = "boost_fixedsize";
inline constexpr std::string_view boost_protected_name = "boost_protected_fixedsize";
inline constexpr std::string_view boost_pooled_name = "boost_pooled_fixedsize";
inline constexpr std::string_view split_stack_name =
    "split_stack";  // a program of its own: bench/peers/split_stack/
inline constexpr std::string_view libsigsegv_name =
    "libsigsegv";  // a program of its own: bench/peers/libsigsegv/
inline constexpr std::string_view bare_handler_name = "bare_handler";

/// What every ratio is relative to.
inline constexpr Strategy baseline = Strategy::demand_paging;

/// All of them, strategies first. Tries each strategy in a child.
[[nodiscard]] std::vector<Subject> all_subjects(const Progress& progress);
[[nodiscard]] std::vector<std::string> all_subject_names();

/// For a child that makes stacks of any subject: raises the soft limits that some of them need, as
/// far as they can be raised. Throws std::system_error.
void raise_limits_for_stacks(std::uint64_t bytes);

/// What was changed in a child so that this subject could have a stack of that size; empty if
/// nothing was. (grows_down grows up to RLIMIT_STACK, locked needs RLIMIT_MEMLOCK.)
[[nodiscard]] std::string stack_limit_note(const Subject& subject, std::uint64_t bytes);

/// Whether it grows by faults of ours, and in huge pages where the policy wishes for them.
[[nodiscard]] bool grows_in_huge_pages(std::string_view subject);

/// What memory must be warmed as for a stack of it that gets so deep: bench::touch_and_free.
[[nodiscard]] bench::Pages pages_taken_by(std::string_view subject, std::uint64_t depth,
                                          const GrowthPolicy& policy = {});

/// For a table in which grows_down died of a signal.
inline constexpr std::string_view why_grows_down_dies =
    "grows_down died: nothing holds the address space below a MAP_GROWSDOWN mapping, and what the "
    "program maps meanwhile "
    "may "
    "come to lie there, where it ends the growth.";

/// The strategy of a name that a child got from its parent. Throws std::invalid_argument.
[[nodiscard]] Strategy strategy_named(const std::string& name);

/// Child's task: {"strategy"} to {"unsupported", "lacking"}.
[[nodiscard]] nlohmann::json try_strategy(const nlohmann::json& request, Progress& progress);

}  // namespace growstack::compare
