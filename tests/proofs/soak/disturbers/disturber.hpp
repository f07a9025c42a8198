// A thread that disturbs all others: it stops and ends the library's threads, closes descriptors,
// and puts other handlers in place.
#pragma once

#include "proofs/soak/disturbers/descriptors.hpp"
#include "proofs/soak/disturbers/stopper.hpp"
#include "proofs/soak/worker.hpp"

namespace growstack::soak {

class Disturber {
 public:
  /// Before the library is used: what is open now is the soak's own, and the stopper forks.
  Disturber() = default;

  /// Until the season ends, and as the worker chooses.
  void disturb(Worker& worker);
  /// When nothing lives any more, and the library was uninstalled.
  void expect_nothing_is_left();

 private:
  void disturb_a_service_thread(Worker& worker);
  void disturb_descriptors(Worker& worker);

  Stopper stopper_;
  Descriptors descriptors_;
};

}  // namespace growstack::soak
