// Who is compared: the library's strategies, and peers that are none of them.
#pragma once

#include "progress.hpp"

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
};

inline constexpr std::string_view pthread_name = "pthread";
inline constexpr std::string_view bare_handler_name = "bare_handler";

/// What every ratio is relative to.
inline constexpr Strategy baseline = Strategy::demand_paging;

/// All of them, strategies first. Tries each strategy in a child.
[[nodiscard]] std::vector<Subject> all_subjects(const Progress& progress);
[[nodiscard]] std::vector<std::string> all_subject_names();

/// What was changed in a child so that this subject could have a stack of that size; empty if nothing was. (grows_down grows
/// up to RLIMIT_STACK, which children raise: bench::raise_stack_limit.)
[[nodiscard]] std::string stack_limit_note(const Subject& subject, std::uint64_t bytes);

/// For a table in which grows_down died of a signal.
inline constexpr std::string_view why_grows_down_dies =
    "grows_down died: nothing holds the address space below a MAP_GROWSDOWN mapping, and what the program maps meanwhile "
    "may "
    "come to lie there, where it ends the growth.";

/// The strategy of a name that a child got from its parent. Throws std::invalid_argument.
[[nodiscard]] Strategy strategy_named(const std::string& name);

/// Child's task: {"strategy"} to {"unsupported"}.
[[nodiscard]] nlohmann::json try_strategy(const nlohmann::json& request, Progress& progress);

}  // namespace growstack::compare
