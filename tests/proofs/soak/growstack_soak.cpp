// growstack_soak: everything at once, for as long as you like. Prints a table of what it did, and
// the main counts in its last line.
#include "proofs/soak/counts.hpp"
#include "proofs/soak/disturbers/disturber.hpp"
#include "proofs/soak/fiber.hpp"
#include "proofs/soak/last_words.hpp"
#include "proofs/soak/season.hpp"
#include "proofs/soak/settings.hpp"
#include "proofs/soak/signals.hpp"
#include "proofs/soak/tenant.hpp"
#include "proofs/soak/watchdog.hpp"
#include "proofs/soak/world.hpp"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

using namespace growstack::soak;

namespace {

constexpr unsigned season_seconds = 5;

/// The other mistakes are those of workers.
void make_a_mistake(Mistake mistake) {
  if (mistake == Mistake::signal) {
    ++counts.sent_on;
  }
  if (mistake == Mistake::word) {
    std::array<std::uint64_t, 64> words{};
    const auto begin = reinterpret_cast<std::uintptr_t>(words.data());
    const Tenant tenant(begin + sizeof words);
    tenant.fill(begin, begin + sizeof words);
    words[17] ^= 1U;
    tenant.verify(begin, begin + sizeof words);
  }
}

/// Returns an exit code.
int tell(const Settings& settings) {
  for (const Row& row : table(settings)) {
    fmt::print("{:<40} {:>14}\n", row.name, row.left_out ? "left out" : std::to_string(row.count));
  }
  const std::string too_few = missing(settings);
  const bool is_good =
      too_few.empty() && counts.words_lost + counts.signals_lost + counts.hangs == 0;
  fmt::print("{}{}: {}\n", too_few, is_good ? "OK" : "FAILED", last_line(settings));
  return is_good ? 0 : 1;
}

void soak(const Settings& settings, Disturber& disturber) {
  World here(settings);
  world = &here;
  Random sender(settings.seed + 1);
  install_signal_handlers();
  make_a_mistake(settings.mistake);
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
  Disturber disturber;
  Settings settings;
  if (const int code = read_settings(argc, argv, settings); code >= 0) {
    return code;
  }
  const rlimit no_core{};
  setrlimit(RLIMIT_CORE, &no_core);
  fmt::print("seed {}, {} threads\n", settings.seed, settings.threads);
  std::fflush(stdout);
  soak(settings, disturber);
  return tell(settings);
}
