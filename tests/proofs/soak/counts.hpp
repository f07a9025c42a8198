// What the soak did, as its last line tells it.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace growstack::soak {

using Count = std::atomic<std::uint64_t>;

struct Counts {
  Count operations{0};  ///< activities of workers
  Count threads{0};     ///< that were started
  Count bytes_verified{0};
  Count switches{0};  ///< fibers that were resumed
  Count trims{0};
  Count visits{0};    ///< touches of stacks by threads that ran elsewhere
  Count mappings{0};  ///< of the program's own
  Count pools{0};     ///< that were made
  Count refusals{0};  ///< that were asked for, and came
  Count sent_on{0};   ///< signals whose handler has SA_ONSTACK
  Count received_on{0};
  Count sent_off{0};  ///< signals whose handler has not
  Count received_off{0};
  Count reported_lost{0};  ///< by handler::counters()
  Count timers_sent{0};
  Count timers_received{0};
  Count forks{0};
  Count vforks{0};
  Count reports{0};  ///< children that overflowed a stack
  Count helper_stops{0};
  Count helper_kills{0};
  Count pipes_closed{0};  ///< while others went on
  Count descriptors_closed{0};
  Count descriptors_reopened{0};
  Count handlers_swapped{0};
  Count uninstalls{0};

  /// Returns the line without the growths, which the library counts.
  [[nodiscard]] std::string line() const;
};

extern Counts counts;

}  // namespace growstack::soak
