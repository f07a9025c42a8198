// A season: workers live, everything they used goes, and the library is uninstalled. Then nothing
// may be left.
#pragma once

#include "proofs/soak/disturbers/disturber.hpp"

#include <chrono>

namespace growstack::soak {

void live_a_season(Disturber& disturber, Random& sender, std::chrono::seconds length);

}  // namespace growstack::soak
