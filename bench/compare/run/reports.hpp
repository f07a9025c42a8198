// What is printed before and after the measurements.
#pragma once

#include "run/session.hpp"

namespace growstack::compare {

/// Prints facts about machine, kernel and limits, and adds them as rows: what a reader must know
/// before comparing these figures with those of another machine.
void report_machine(Session& session);

/// Prints those aims of all measurements for which there are figures (aims.hpp).
void report_aims(Session& session);

/// Prints in at most five lines which strategy to take for what, each concluded from the figures of
/// this run. Leaves out what this run did not measure. notes/which-strategy.md gives the reasons.
void report_which_strategy(Session& session);

}  // namespace growstack::compare
