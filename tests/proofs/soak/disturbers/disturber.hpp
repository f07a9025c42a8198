// A thread that disturbs all others: it stops and ends the library's threads, closes descriptors,
// and puts other handlers in place.
#pragma once

#include "proofs/soak/disturbers/descriptors.hpp"
#include "proofs/soak/disturbers/stopper.hpp"
#include "proofs/soak/worker.hpp"

namespace growstack::soak {

class Disturber {
 public:
  Disturber(Worker& worker, Stopper& stopper) : worker_(worker), stopper_(stopper) {}

  /// Until the season ends.
  void disturb();
  /// When nothing lives any more, and the library was uninstalled.
  void expect_nothing_is_left();

 private:
  void disturb_a_service_thread();
  void disturb_descriptors();

  Worker& worker_;
  Stopper& stopper_;
  Descriptors descriptors_;
};

}  // namespace growstack::soak
