// growstack_soak: everything at once, for as long as you like. Its last line is the counts.
#include <growstack/handler/handler.hpp>

#include "proofs/soak/counts.hpp"
#include "proofs/soak/disturbers/disturber.hpp"
#include "proofs/soak/fiber.hpp"
#include "proofs/soak/last_words.hpp"
#include "proofs/soak/season.hpp"
#include "proofs/soak/settings.hpp"
#include "proofs/soak/signals.hpp"
#include "proofs/soak/watchdog.hpp"
#include "proofs/soak/world.hpp"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

using namespace growstack::soak;

namespace {

constexpr unsigned season_seconds = 5;

void soak(const Settings& settings, Stopper& stopper) {
  World here(settings);
  world = &here;
  Random sender(settings.seed + 1);
  install_signal_handlers();
  Disturber disturber(here.workers.back(), stopper);
  const Watchdog watchdog;
  const auto begin = std::chrono::steady_clock::now();
  const auto left = [&] {
    return std::chrono::duration_cast<std::chrono::seconds>(
        begin + std::chrono::seconds(settings.seconds) - std::chrono::steady_clock::now());
  };
  while (left().count() > 0) {
    live_a_season(disturber, sender, std::min(left(), std::chrono::seconds(season_seconds)));
  }
}

}  // namespace

int main(int argc, char** argv) {
  // Both before the library is asked for the first time, which may install it and start threads.
  install_last_words();
  Stopper stopper;
  Settings settings;
  if (const int code = read_settings(argc, argv, settings); code >= 0) {
    return code;
  }
  const rlimit no_core{};
  setrlimit(RLIMIT_CORE, &no_core);
  fmt::print("seed {}, {} workers\n", settings.seed, settings.threads);
  std::fflush(stdout);
  soak(settings, stopper);
  const growstack::handler::Counters counters = growstack::handler::counters();
  fmt::print(
      "{} seconds, seed {}: {} growth faults ({} by the helper, {} that it left), {} spurious, "
      "{}\n",
      settings.seconds, settings.seed, counters.growth, counters.by_helper, counters.helper_missing,
      counters.spurious, counts.line() + "; 0 lost, 0 hangs");
  return 0;
}
