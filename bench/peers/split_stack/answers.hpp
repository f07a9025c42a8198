// What growstack_compare asks this program, which it starts once for each request. None of this is
// compiled with split stacks: only the code that is measured is.
#pragma once

#include <nlohmann/json.hpp>

#include <functional>

namespace growstack::split_stack {

/// On a thread of its own: a fresh split stack, whose first piece is as large as what growstack's
/// stacks start with.
void on_fresh_stack(const std::function<void()>& body);

/// {"rounds"} to {depth: {"ns", "ratio"}}, the ratio to the same calls without split stacks, on a
/// demand-paged stack.
[[nodiscard]] nlohmann::json measure_growth(const nlohmann::json& request);

/// {} to {"median_ns", "worst_ns", "share", "plain_median_ns", "plain_worst_ns"}: a call in a loop,
/// at many depths.
[[nodiscard]] nlohmann::json measure_hot_call(const nlohmann::json& request);

/// {"program", "size", "rounds"} to {"ok", "ms", "given", "deepest", "faults"}.
[[nodiscard]] nlohmann::json run_real_program(const nlohmann::json& request);

}  // namespace growstack::split_stack
