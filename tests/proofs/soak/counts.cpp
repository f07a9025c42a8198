#include "proofs/soak/counts.hpp"

#include <fmt/format.h>

namespace growstack::soak {

Counts counts;

std::string Counts::line() const {
  const auto value = [](const Count& count) { return count.load(); };
  return fmt::format(
      "{} threads, {} operations, {} bytes verified, {} switches of fibers, {} trims, {} touches "
      "from elsewhere, {} pools, {} mappings, {} refusals; "
      "signals with SA_ONSTACK: {} sent, {} received; "
      "without: {} sent, {} received, {} reported lost; "
      "of timers: {} sent, {} received; "
      "{} forks, {} vforks, {} reports; "
      "service threads stopped {} times, helpers ended {}; "
      "descriptors closed {}, reopened {}, pipes closed {}; "
      "handlers swapped {}; uninstalled {} times",
      value(threads), value(operations), value(bytes_verified), value(switches), value(trims),
      value(visits), value(pools), value(mappings), value(refusals), value(sent_on),
      value(received_on), value(sent_off), value(received_off), value(reported_lost),
      value(timers_sent), value(timers_received), value(forks), value(vforks), value(reports),
      value(helper_stops), value(helper_kills), value(descriptors_closed),
      value(descriptors_reopened), value(pipes_closed), value(handlers_swapped), value(uninstalls));
}

}  // namespace growstack::soak
