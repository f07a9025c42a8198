// The machine: what a reader must know before comparing these figures with those of another one.
#pragma once

#include "run/session.hpp"

namespace growstack::compare {

/// Prints a table of facts about machine, kernel and limits, and adds them as rows.
void report_machine(Session& session);

}  // namespace growstack::compare
