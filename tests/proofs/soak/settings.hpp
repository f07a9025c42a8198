// What the command line asks for.
#pragma once

#include <growstack/strategy.hpp>

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace growstack::soak {

/// What the soak does wrong on purpose, to see that it is found.
enum class Mistake : std::uint8_t {
  none,
  word,    ///< changes a word that a tenant wrote
  signal,  ///< counts a signal that it does not send
  hang,    ///< lets a worker wait for ever
  idle,    ///< does nothing
};

struct Settings {
  unsigned seconds = 60;
  unsigned threads = 8;
  std::uint64_t seed = 1;
  /// How long nothing may happen in a thread before that is a hang.
  unsigned patience_seconds = 100;
  Mistake mistake = Mistake::none;
  std::vector<Strategy> strategies;
  std::set<std::string, std::less<>> without;
  bool is_chosen = false;  ///< the command line chose strategies or parts

  [[nodiscard]] bool with(std::string_view part) const { return !without.contains(part); }
};

/// Reads the command line, leaves out what cannot be had here, and says so. Returns an exit code,
/// or -1 if the soak is to run.
int read_settings(int argc, char** argv, Settings& settings);

}  // namespace growstack::soak
