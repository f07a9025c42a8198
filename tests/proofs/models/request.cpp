// The request of a faulting thread to the helper: fault/request.cpp against
// threads/helper.cpp, in every interleaving, with helpers that die before any
// of their writes and waits that end before any answer.
//
// What holds in every execution:
// - Every faulting thread resumes, and the memory that it asked for is
// committed by then.
// - No commit reaches memory of another tenant, also if the helper or its
// answer is late, and no
//   commit has a data race with the change of tenants.
// - Two threads never have one reply at the same time. Otherwise one would take
// the answer to the
//   other's request for its own, and memory would be missing.
// - Nobody who retires a slot waits for ever. A reply is free again when nobody
// uses it.
#include "models/faults.hpp"
#include "models/run.hpp"

#include <doctest/doctest.h>

namespace modelled {
namespace {

constexpr unsigned all = ~0U;
constexpr unsigned none = 0;

/// A helper thread, as ServiceThread::body() runs it.
void help(int pipe) {
  explorer::may_wait_for_ever();
  the_helper.settle();
  the_helper.run(read_end(pipe));
  explorer::die();  // the thread ends, and its end of the pipe with it
}

/// Another helper with a pipe of its own, as start_helper() makes them when the
/// program has closed the first pipe. The first helper is left to itself.
void take_over() {
  request_pipe.forget();
  explorer::require(request_pipe.set(write_end(1)) == 0, "no pipe");
  help(1);
}

/// A helper that was started before.
void go_on_helping() {
  explorer::may_wait_for_ever();
  the_helper.run(read_end(0));
  explorer::die();
}

void help_and_perhaps_die() {
  explorer::may_die();
  go_on_helping();
}

/// As if the thread had started as the helper before all others.
void start_before(std::uint64_t helper) {
  pipes[0].reader = helper;
  const auto id = static_cast<std::uint32_t>(first_thread_id + static_cast<long>(helper));
  wiped().helper_id.store(id, std::memory_order_relaxed);
  wiped().helper_runs.store(id, std::memory_order_relaxed);
}

/// Whether thread 2 takes over as the helper, and goes on for ever.
bool second_helper_runs = false;
/// Whether the helper has ended in the end.
bool helper_ends = false;
/// Whether no thread may have to commit by itself.
bool helper_does_all = false;

/// A fault in a slot: what resolve() and grow() do of it. Returns whether the slot had a tenant.
bool fault(std::size_t slot, std::uintptr_t number) {
  const PinnedSlot pinned(slot_begin + slot * slot_bytes);
  if (!pinned) {
    return false;
  }
  const Step step = step_for(tenants[slot], number);
  if (!commit_by_helper(pinned.range(), pinned.slot(), step)) {
    explorer::require(!helper_does_all, "a helper that lives does not serve a fault");
    // The helper alone may be refused the memory. A thread that is refused it as well dies of an
    // overflow, which is another story.
    explorer::require(pinned.range().operations->commit(pinned.range(), pinned.slot(), step) == 0,
                      "a refusal");
  }
  explorer::require(committed[number].load(std::memory_order_relaxed) == 1,
                    "a thread resumes, and its memory is not committed");
  return true;
}

/// The owner of a slot: gives it to another tenant.
void change_tenant(std::uint32_t slot, std::uintptr_t tenant) {
  retire(range_memory, slot);
  tenants[slot] = tenant;
  publish(range_memory, slot,
          {.base = slot_begin + (slot + 1) * slot_bytes,
           .floor = slot_begin + slot * slot_bytes,
           .guard = slot_begin + slot * slot_bytes,
           .limit = slot_begin + (slot + 1) * slot_bytes,
           .name = "next"});
}

/// What holds when all threads have ended.
void check_all() {
  for (const auto& pins : pin_memory) {
    explorer::require(pins.load(std::memory_order_relaxed) == 0, "a pin stays behind");
  }
  if (second_helper_runs) {
    explorer::require(wiped().helper_runs.load(std::memory_order_relaxed) == first_thread_id + 2,
                      "a helper that runs is forgotten");
  }
  explorer::require(!helper_ends || wiped().helper_runs.load(std::memory_order_relaxed) == 0,
                    "a helper that has ended is not forgotten");
  // A helper that died may have been about to end a request that was left.
  for (std::uint64_t thread = 0; thread < most_model_threads; ++thread) {
    if (explorer::has_died(thread)) {
      return;
    }
  }
  for (const Reply& reply : wiped().replies) {
    explorer::require(reply.taken.load(std::memory_order_relaxed) == 0,
                      "a reply is taken, and nobody has it");
  }
  explorer::require(wiped().requests_left.load(std::memory_order_relaxed) == 0,
                    "a request is counted as left, and none is");
}

void run_with(std::vector<std::function<void()>> threads, std::function<void()> begin) {
  run(std::move(threads), {[begin = std::move(begin)] {
                             timeouts_of = all;
                             pipe_may_be_full = helper_may_be_refused = helper_does_all = false;
                             second_helper_runs = helper_ends = false;
                             set_up_faults();
                             begin();
                           },
                           check_all});
}

// ---- no wait ends before its answer -------------------------------------------------------------

TEST_CASE("a helper that lives answers every request, and a waiter needs no timeout") {
  run_with({[] { fault(0, 0), fault(0, 1); }, go_on_helping}, [] {
    timeouts_of = none;
    helper_does_all = true;
    start_before(1);
  });
}

TEST_CASE("two threads fault, and a helper that lives answers both") {
  run_with({[] { fault(0, 0); }, [] { fault(1, 1); }, go_on_helping}, [] {
    timeouts_of = none;
    helper_does_all = true;
    start_before(2);
  });
}

TEST_CASE("a helper starts while a thread faults on another processor than it knows") {
  run_with({[] { fault(0, 0), fault(0, 1); }, [] { help(0); }}, [] {
    timeouts_of = none;
    wiped().helper_processor.store(the_processor + 2, std::memory_order_relaxed);
  });
}

TEST_CASE("memory is refused, and a waiter needs no timeout") {
  run_with({[] { fault(0, 0); }, go_on_helping}, [] {
    timeouts_of = none;
    helper_may_be_refused = true;
    start_before(1);
  });
}

TEST_CASE("the pipe is full, and the thread needs no timeout") {
  run_with({[] { fault(0, 0); }, go_on_helping}, [] {
    timeouts_of = none;
    pipe_may_be_full = true;
    start_before(1);
  });
}

// ---- waits end at any time ----------------------------------------------------------------------

TEST_CASE("two threads fault, and one takes its request back or leaves it") {
  run_with({[] { fault(0, 0); }, [] { fault(1, 1); }, go_on_helping}, [] {
    timeouts_of = 1;
    start_before(2);
  });
}

TEST_CASE("a request is taken back or left, and the slot changes hands") {
  run_with({[] { fault(0, 0); }, go_on_helping, [] { change_tenant(0, 3); }},
           [] { start_before(1); });
}

TEST_CASE("a thread faults in another slot while its last request is left") {
  run_with({[] { fault(0, 0), fault(1, 1); }, go_on_helping, [] { change_tenant(0, 3); }},
           [] { start_before(1); });
}

TEST_CASE("memory is refused, and the pipe is full") {
  run_with({[] { fault(0, 0), fault(0, 1); }, go_on_helping}, [] {
    helper_may_be_refused = pipe_may_be_full = true;
    start_before(1);
  });
}

// ---- the helper dies, is asked to end, or another one takes over --------------------------------

TEST_CASE("a request is taken back or left, the helper dies, and the slot changes hands") {
  run_with({[] { fault(0, 0); }, help_and_perhaps_die, [] { change_tenant(0, 3); }},
           [] { start_before(1); });
}

TEST_CASE("a helper that died before a fault is forgotten by then") {
  run_with({[] {
              const bool was_dead = explorer::has_died(1);
              fault(0, 0);
              explorer::require(
                  !was_dead || wiped().helper_runs.load(std::memory_order_relaxed) == 0,
                  "the next fault waits for a helper that is dead");
            },
            help_and_perhaps_die},
           [] { start_before(1); });
}

TEST_CASE("the helper is asked to end while threads fault") {
  run_with({[] { fault(0, 0); }, go_on_helping,
            [] { explorer::require(the_helper.ask_to_end(), "nobody to ask"); }},
           [] {
             helper_ends = true;
             start_before(1);
           });
}

TEST_CASE("a helper is asked to end, and another one that has started is not forgotten") {
  run_with({[] { fault(0, 0); }, go_on_helping,
            [] {
              explorer::require(the_helper.ask_to_end(), "nobody to ask");
              take_over();
            }},
           [] {
             second_helper_runs = true;
             start_before(1);
           });
}

TEST_CASE("another helper takes over from one that may be dead, and is not forgotten") {
  run_with({[] { fault(0, 0); }, help_and_perhaps_die, take_over}, [] {
    second_helper_runs = true;
    start_before(1);
  });
}

TEST_CASE("another helper takes over from one that lives, and the slot changes hands") {
  run_with({[] { fault(0, 0); }, go_on_helping, take_over, [] { change_tenant(0, 3); }},
           [] { start_before(1); });
}

}  // namespace
}  // namespace modelled
