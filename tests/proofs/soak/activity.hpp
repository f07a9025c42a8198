// What a worker can do. Each file of activities/ has some.
#pragma once

#include "proofs/soak/worker.hpp"

#include <span>
#include <string_view>

namespace growstack::soak {

struct Activity {
  std::string_view name;
  std::string_view says;  ///< what it does, for --help
  unsigned weight = 1;    ///< how often it is chosen
  bool at_depth = false;  ///< it may also run at the bottom of another one
  void (*run)(Worker& worker) = nullptr;
};

std::span<const Activity> activities();

/// Does one of the activities that the settings allow.
void do_something(Worker& worker);
/// Now and then does one that may run at depth, unless too many run already.
void do_something_at_depth(Worker& worker);

}  // namespace growstack::soak
