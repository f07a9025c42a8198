#include "proofs/soak/disturbers/disturber.hpp"

#include "proofs/soak/counts.hpp"
#include "proofs/soak/disturbers/handlers.hpp"
#include "proofs/soak/last_words.hpp"
#include "proofs/soak/world.hpp"
#include "support/sanitized.hpp"
#include "support/smaps.hpp"

#include <unistd.h>

#include <array>
#include <string_view>
#include <vector>

namespace growstack::soak {
namespace {

/// The main thread, the watchdog, and a thread that ThreadSanitizer starts with the first one.
constexpr std::size_t own_threads = testing::under_thread_sanitizer ? 3 : 2;

}  // namespace

void Disturber::disturb(Worker& worker) {
  Random& random = worker.random;
  const Settings& settings = world->settings;
  while (!world->season_ends) {
    usleep(static_cast<useconds_t>(random.log_uniform(500, 60'000)));
    worker.note("disturbs");
    switch (random.below(4)) {
      case 0:
        disturb_descriptors(worker);
        break;
      case 1:
        if (settings.with("handlers")) {
          swap_a_handler(random);
        }
        break;
      default:
        if (settings.with("helper")) {
          disturb_a_service_thread(worker);
        }
    }
  }
}

void Disturber::disturb_a_service_thread(Worker& worker) {
  Random& random = worker.random;
  constexpr std::array<std::string_view, 4> names{"stack-helper", "stack-helper", "stack-symbols",
                                                  "stack-monitor"};
  const std::string_view name = random.one_of(names);
  const std::vector<pid_t> threads = threads_named(name);
  if (threads.empty()) {
    return;
  }
  const pid_t thread = random.one_of(threads);
  const bool is_helper = name == "stack-helper";
  const bool in_commit = is_helper && random.one_in(2);
  if (is_helper && random.one_in(3)) {
    worker.note("ends the helper", static_cast<std::size_t>(thread), in_commit ? 1 : 0);
    const bool done = stopper_.have(thread, in_commit ? Fate::ended_in_commit : Fate::ended);
    counts.helper_kills.fetch_add(done ? 1 : 0, std::memory_order_relaxed);
    return;
  }
  const std::size_t microseconds = random.log_uniform(10, 400'000);
  worker.note(name.data(), microseconds, in_commit ? 1 : 0);
  const bool done = stopper_.have(thread, in_commit ? Fate::stopped_in_commit : Fate::stopped,
                                  static_cast<unsigned>(microseconds));
  counts.helper_stops.fetch_add(done ? 1 : 0, std::memory_order_relaxed);
}

void Disturber::disturb_descriptors(Worker& worker) {
  if (!world->settings.with("descriptors")) {
    return;
  }
  if (worker.random.one_in(2)) {
    worker.note("closes the pipe");
    return descriptors_.close_the_pipe();
  }
  worker.note("closes descriptors");
  world->gate.close();
  descriptors_.close_and_reopen(worker.random);
  world->gate.open();
}

void Disturber::expect_nothing_is_left() {
  descriptors_.verify_and_forget();
  descriptors_.expect_none_is_left();
  // A monitor stays whose userfaultfd was closed: it served what was watched before.
  const std::size_t expected = own_threads + threads_named("stack-monitor").size();
  if (!testing::threads_come_down_to(expected)) {
    wrong("%zu threads are left, and not %zu", testing::thread_count(), expected);
  }
}

}  // namespace growstack::soak
