#include "proofs/soak/watchdog.hpp"

#include "proofs/soak/counts.hpp"
#include "proofs/soak/last_words.hpp"
#include "proofs/soak/world.hpp"

#include <unistd.h>

#include <algorithm>
#include <vector>

namespace growstack::soak {
namespace {

void watch(const std::stop_token& stop) {
  std::vector<std::size_t> seen(world->workers.size(), 0);
  std::vector<unsigned> quiet(world->workers.size(), 0);
  while (!stop.stop_requested()) {
    usleep(1'000'000);
    counts.watchdog_looks.fetch_add(1, std::memory_order_relaxed);
    for (std::size_t index = 0; index < seen.size(); ++index) {
      const std::size_t progress = world->workers[index].progress();
      quiet[index] = progress == seen[index] ? quiet[index] + 1 : 0;
      seen[index] = progress;
      counts.longest_quiet = std::max<std::uint64_t>(counts.longest_quiet, quiet[index]);
      if (quiet[index] >= world->settings.patience_seconds) {
        counts.hangs.fetch_add(1, std::memory_order_relaxed);
        wrong("HANG: worker %zu did nothing for %u seconds", index, quiet[index]);
      }
    }
  }
}

}  // namespace

Watchdog::Watchdog() : thread_([](const std::stop_token& stop) { watch(stop); }) {}

}  // namespace growstack::soak
