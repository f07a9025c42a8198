// What growth is meant to reach, beside what was measured.
#pragma once

#include "run/session.hpp"

namespace growstack::compare {

/// Prints those figures whose groups were run before; nothing without any.
void report_aims(Session& session);

}  // namespace growstack::compare
