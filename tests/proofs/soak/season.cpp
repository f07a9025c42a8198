#include "proofs/soak/season.hpp"

#include <growstack/growstack.hpp>

#include "proofs/soak/activity.hpp"
#include "proofs/soak/counts.hpp"
#include "proofs/soak/fiber.hpp"
#include "proofs/soak/last_words.hpp"
#include "proofs/soak/signals.hpp"
#include "proofs/soak/use_stack.hpp"
#include "proofs/soak/world.hpp"
#include "support/smaps.hpp"

#include <unistd.h>

#include <memory>
#include <thread>
#include <vector>

namespace growstack::soak {
namespace {

/// What a worker does in one of its threads. Signals may arrive meanwhile.
void live(Worker& worker, std::size_t activities) {
  set_this_worker(&worker);
  attach_thread();
  {
    const std::lock_guard lock(worker.target_lock);
    worker.target = world->settings.with("signals") ? gettid() : 0;
  }
  const Mistake mistake = world->settings.mistake;
  while (mistake == Mistake::idle && !world->season_ends) {
    worker.note("does nothing");
    usleep(1000);
  }
  while (mistake == Mistake::hang && worker.index == 0) {
    pause();
  }
  for (; activities > 0 && !world->season_ends; --activities) {
    world->gate.enter();
    do_something(worker);
    world->gate.leave();
  }
  {
    const std::lock_guard lock(worker.target_lock);
    worker.target = 0;  // what was sent has arrived when this thread is back from a system call
  }
  sched_yield();
}

/// Has the worker live in one thread after the other, of any kind, until the season ends.
void live_in_threads(Worker& worker) {
  while (!world->season_ends) {
    const std::size_t activities = worker.random.log_uniform(8, 512);
    counts.threads.fetch_add(1, std::memory_order_relaxed);
    StackOptions options = some_options(worker.random);
    options.reserve = 64 * testing::MiB;
    const bool has_own_stack = worker.random.one_in(3) && options.strategy != Strategy::locked;
    worker.note("begins a thread; its own stack grows:", has_own_stack ? 1 : 0,
                static_cast<std::size_t>(options.strategy));
    if (has_own_stack) {
      world->gate.enter();
      Thread thread(options, [&] { live(worker, activities); });
      world->gate.leave();
      thread.join();
    } else {
      std::thread([&] { live(worker, activities); }).join();
    }
  }
}

/// Ends all that workers have left for each other.
void end_what_is_left(Worker& worker) {
  set_this_worker(&worker);
  attach_thread();
  while (auto fiber = world->fibers.take(worker.random)) {
    (*fiber)->verify();
    (*fiber)->end(worker);
    worker.note("ends a fiber");
  }
  while (world->stacks.take(worker.random)) {
  }
  while (world->mappings.take(worker.random)) {
  }
  while (world->pools.take(worker.random)) {
  }
  while (world->allocators.take(worker.random)) {
  }
  set_this_worker(nullptr);
}

void expect_nothing_lives() {
  trim();
  const ProcessCounters now = process_counters();
  if (now.stacks != 0 || now.arenas != 0 || now.committed != 0) {
    wrong("%zu stacks, %zu arenas and %zu bytes are left", now.stacks, now.arenas, now.committed);
  }
  if (const int error = handler::uninstall(); error != 0) {
    wrong("uninstall: %d", error);
  }
  counts.uninstalls.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

void live_a_season(Disturber& disturber, Random& sender, std::chrono::seconds length) {
  world->season_ends = false;
  {
    std::vector<std::jthread> threads;
    for (unsigned index = 0; index < world->settings.threads; ++index) {
      threads.emplace_back([index] { live_in_threads(world->workers[index]); });
    }
    threads.emplace_back([&] { disturber.disturb(world->workers.back()); });
    if (world->settings.with("signals")) {
      threads.emplace_back([&] { send_until_season_ends(sender); });
    }
    std::this_thread::sleep_for(length);
    world->season_ends = true;
  }
  expect_no_signal_was_lost();
  std::thread([] { end_what_is_left(world->workers.back()); }).join();
  expect_nothing_lives();
  if (!last_words_are_in_force()) {
    wrong("uninstall() did not put the handler back that was there before");
  }
  disturber.expect_nothing_is_left();
}

}  // namespace growstack::soak
