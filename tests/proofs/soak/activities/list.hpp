// The activities, one function each.
#pragma once

#include "proofs/soak/worker.hpp"

namespace growstack::soak {

void use_a_stack(Worker& worker);  // activities/calls.cpp
void call_with_options(Worker& worker);
void recurse_anywhere(Worker& worker);
void use_a_fiber(Worker& worker);   // activities/fibers.cpp
void run_a_thread(Worker& worker);  // activities/threads.cpp
void attach_anew(Worker& worker);
void change_pools(Worker& worker);    // activities/pools.cpp
void trim_something(Worker& worker);  // activities/trims.cpp
void look_around(Worker& worker);
void touch_a_stack(Worker& worker);  // activities/visits.cpp
void map_something(Worker& worker);
void use_a_region(Worker& worker);      // activities/regions.cpp
void ask_for_too_much(Worker& worker);  // activities/refusals.cpp
void send_signals(Worker& worker);      // activities/signals.cpp
void wait_for_timer(Worker& worker);
void fork_a_child(Worker& worker);  // activities/children.cpp
void vfork_a_child(Worker& worker);
void overflow_in_a_child(Worker& worker);

}  // namespace growstack::soak
