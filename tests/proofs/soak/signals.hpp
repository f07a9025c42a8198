// Signals that are sent to workers, and counted when they are sent and when they arrive.
#pragma once

#include "proofs/soak/worker.hpp"

namespace growstack::soak {

/// Installs the handlers.
void install_signal_handlers();
/// The real-time signals, which the kernel queues: with SA_ONSTACK, without, and that of timers.
int signal_with_onstack();
int signal_without_onstack();
int signal_of_timers();

/// Sends a signal to a random worker that can be a target now.
void send_a_signal(Random& random);

/// Sends signals all the time, from a thread of its own, until the season ends.
void send_until_season_ends(Random& random);

/// Says so if a signal that was sent did not arrive, and was not reported as lost. When no worker
/// is a target.
void expect_no_signal_was_lost();

}  // namespace growstack::soak
