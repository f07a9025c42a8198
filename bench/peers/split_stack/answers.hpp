// What growstack_compare asks this program, which it starts once for each request. Only the code
// that is measured is compiled with split stacks.
#pragma once

#include <nlohmann/json.hpp>

#include <functional>

namespace growstack::split_stack {

/// Runs body on a fresh split stack, on a thread of its own. The first piece is as large as what
/// growstack's stacks start with.
void on_fresh_stack(const std::function<void()>& body);

/// Answers {"rounds"} with {depth: {"ns", "ratio"}}. The ratio is to the same calls without split
/// stacks, on a demand-paged stack.
[[nodiscard]] nlohmann::json measure_growth(const nlohmann::json& request);

/// Answers {} with {"median_ns", "worst_ns", "share", "plain_median_ns", "plain_worst_ns"} of a
/// call in a loop, at many depths.
[[nodiscard]] nlohmann::json measure_hot_call(const nlohmann::json& request);

/// Answers {"program", "size", "rounds"} with {"ok", "ms", "given", "deepest", "faults"}.
[[nodiscard]] nlohmann::json run_real_program(const nlohmann::json& request);

}  // namespace growstack::split_stack
