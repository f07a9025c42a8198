// The last lines of the output: which strategy for what.
#pragma once

#include "run/session.hpp"

namespace growstack::compare {

/// Prints five lines, each concluded from the figures of this run. notes/which-strategy.md gives
/// the reasons.
void report_which_strategy(Session& session);

}  // namespace growstack::compare
