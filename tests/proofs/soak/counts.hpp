// What the soak did and found, how much of each a long run must have done, and the last line.
#pragma once

#include "proofs/soak/settings.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace growstack::soak {

using Count = std::atomic<std::uint64_t>;

/// Forked children count in the same memory.
struct Counts {
  // What was done. One count for each activity at least.
  Count operations{0};  ///< activities of workers
  Count threads{0};     ///< that were started
  Count bytes_verified{0};
  std::array<Count, 16> calls{};  ///< on stacks with an object, by strategy
  Count calls_with_options{0};
  Count recursions{0};
  Count switches{0};  ///< fibers that were resumed
  Count attachments{0};
  Count pools{0};  ///< that were made
  Count trims{0};
  Count looks{0};     ///< at figures of pools and of the process
  Count touches{0};   ///< of stacks, by threads that ran elsewhere
  Count mappings{0};  ///< of the program's own
  Count regions{0};
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
  Count overflows{0};  ///< children that overflowed a stack, and reported it
  Count helper_stops{0};
  Count helper_kills{0};
  Count pipes_closed{0};  ///< while others went on
  Count descriptors_closed{0};
  Count descriptors_reopened{0};
  Count handlers_swapped{0};
  Count uninstalls{0};
  Count watchdog_looks{0};
  Count longest_quiet{0};  ///< seconds in which a worker did nothing

  // What was found. Each of these ends the run when it becomes more than 0.
  Count words_lost{0};    ///< that a tenant wrote, and did not find again
  Count signals_lost{0};  ///< that neither arrived nor were reported, or that came twice
  Count hangs{0};         ///< workers that did nothing for too long
};

extern Counts& counts;

/// A line of the table.
struct Row {
  std::string name;
  std::uint64_t count = 0;
  std::uint64_t least = 0;  ///< of a run that is long enough
  bool left_out = false;
};

/// Returns the table. What the settings leave out is marked.
[[nodiscard]] std::vector<Row> table(const Settings& settings);

/// Returns what is missing in a run that was long enough, a line each. Empty if nothing is.
[[nodiscard]] std::string missing(const Settings& settings);

/// Returns the main counts in one line.
[[nodiscard]] std::string last_line(const Settings& settings);

}  // namespace growstack::soak
