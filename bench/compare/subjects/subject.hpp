// Who is compared: the library's strategies, and peers that are not strategies.
#pragma once

#include "parts/memory.hpp"
#include "run/progress.hpp"
#include "subjects/traits.hpp"

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
  std::string name{};
  std::string description{};
  std::string least_kernel{};
  std::optional<Strategy> strategy{};  ///< none: a peer
  std::string unsupported{};           ///< why it does not work here; empty if it does
  std::string lacking{};               ///< what it lacks here although it works; empty for nothing
  bool makes_stacks = false;           ///< make_stack (any_stack.hpp) knows it
};

// The names of the peers.
inline constexpr std::string_view glibc_thread_name = "glibc_thread";
inline constexpr std::string_view glibc_setstack_name = "glibc_thread_setstack";
inline constexpr std::string_view boost_fixedsize_name = "boost_fixedsize";
inline constexpr std::string_view boost_protected_name = "boost_protected_fixedsize";
inline constexpr std::string_view boost_pooled_name = "boost_pooled_fixedsize";
inline constexpr std::string_view split_stack_name = "split_stack";  // bench/peers/split_stack
inline constexpr std::string_view libsigsegv_name = "libsigsegv";    // bench/peers/libsigsegv
inline constexpr std::string_view bare_handler_name = "bare_handler";

/// Returns all subjects, strategies first. Tries each strategy in a child.
[[nodiscard]] std::vector<Subject> all_subjects(const Progress& progress);
[[nodiscard]] std::vector<std::string> all_subject_names();

/// Returns whether a strategy of that name has that trait; false for a peer.
[[nodiscard]] bool is_strategy(std::string_view name, Trait trait);

/// Raises the soft limits that stacks of that size need, as far as they can be raised. For a child
/// that makes stacks of any subject. Throws std::system_error.
void raise_limits_for_stacks(std::uint64_t bytes);

/// Returns which limit raise_limits_for_stacks raises for such a stack of this subject; empty for
/// none.
[[nodiscard]] std::string stack_limit_note(const Subject& subject, std::uint64_t bytes);

/// Returns as which pages memory must be warmed (bench::touch_and_free) before a stack of this
/// subject grows to that depth.
[[nodiscard]] bench::Pages pages_taken_by(std::string_view subject, std::uint64_t depth,
                                          const GrowthPolicy& policy = {});

/// Removes the subject's name from the start of an error message of the library, so that subjects
/// with the same error can share a sentence.
[[nodiscard]] std::string without_name(const std::string& error, const std::string& subject);

/// Returns the strategy of a name that a child got from its parent. Throws std::invalid_argument.
[[nodiscard]] Strategy strategy_named(const std::string& name);

/// Answers {"strategy"} with {"unsupported", "lacking"}. This is a task for a child.
[[nodiscard]] nlohmann::json try_strategy(const nlohmann::json& request, Progress& progress);

}  // namespace growstack::compare
