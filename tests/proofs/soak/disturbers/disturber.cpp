#include "proofs/soak/disturbers/disturber.hpp"

#include "proofs/soak/counts.hpp"
#include "proofs/soak/disturbers/handlers.hpp"
#include "proofs/soak/last_words.hpp"
#include "proofs/soak/world.hpp"
#include "support/smaps.hpp"

#include <unistd.h>

#include <array>
#include <string_view>

namespace growstack::soak {

void Disturber::disturb() {
  Random& random = worker_.random;
  const Settings& settings = world->settings;
  while (!world->season_ends) {
    usleep(static_cast<useconds_t>(random.log_uniform(500, 60'000)));
    worker_.note("disturbs");
    switch (random.below(4)) {
      case 0:
        disturb_descriptors();
        break;
      case 1:
        if (settings.with("handlers")) {
          swap_a_handler(random);
        }
        break;
      default:
        if (settings.with("helper")) {
          disturb_a_service_thread();
        }
    }
  }
}

void Disturber::disturb_a_service_thread() {
  Random& random = worker_.random;
  constexpr std::array<std::string_view, 4> names{"stack-helper", "stack-helper", "stack-symbols",
                                                  "stack-monitor"};
  const std::string_view name = random.one_of(names);
  const pid_t thread = thread_named(name);
  if (thread == 0) {
    return;
  }
  const bool is_helper = name == "stack-helper";
  const bool in_commit = is_helper && random.one_in(2);
  if (is_helper && random.one_in(3)) {
    worker_.note("ends the helper", static_cast<std::size_t>(thread), in_commit ? 1 : 0);
    const bool done = stopper_.have(thread, in_commit ? Fate::ended_in_commit : Fate::ended);
    counts.helper_kills.fetch_add(done ? 1 : 0, std::memory_order_relaxed);
    return;
  }
  const std::size_t microseconds = random.log_uniform(10, 400'000);
  worker_.note(name.data(), microseconds, in_commit ? 1 : 0);
  const bool done = stopper_.have(thread, in_commit ? Fate::stopped_in_commit : Fate::stopped,
                                  static_cast<unsigned>(microseconds));
  counts.helper_stops.fetch_add(done ? 1 : 0, std::memory_order_relaxed);
}

void Disturber::disturb_descriptors() {
  if (!world->settings.with("descriptors")) {
    return;
  }
  if (worker_.random.one_in(2)) {
    worker_.note("closes the pipe");
    return descriptors_.close_the_pipe();
  }
  worker_.note("closes descriptors");
  world->gate.close();
  descriptors_.close_and_reopen(worker_.random);
  world->gate.open();
}

void Disturber::expect_nothing_is_left() {
  descriptors_.verify_and_forget();
  descriptors_.expect_none_is_left();
}

}  // namespace growstack::soak
