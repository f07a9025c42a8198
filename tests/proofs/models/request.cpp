// The request of a faulting thread to the helper: fault/request.cpp against threads/helper.cpp, in
// every interleaving, with helpers that die before any of their writes and waits that end before
// any answer.
//
// What holds in every execution:
// - Every faulting thread resumes, and the memory that it asked for is committed by then.
// - No commit reaches memory of another tenant, also if the helper or its answer is late, and no
//   commit has a data race with the change of tenants.
// - Two threads never have one reply at the same time. Otherwise one would take the answer to the
//   other's request for its own, and memory would be missing.
// - Nobody who retires a slot waits for ever. A reply is free again when nobody uses it.
#include "models/faults.hpp"
#include "models/run.hpp"

#include <doctest/doctest.h>

namespace modelled {
namespace {

constexpr unsigned all = ~0U;
constexpr unsigned none = 0;

/// A helper thread, as ServiceThread::body() runs it. Pipe 0 is its.
void help() {
  explorer::may_wait_for_ever();
  pipes[0].reader = explorer::this_thread();
  the_helper.settle();
  the_helper.run(read_end(0));
  explorer::die();  // the thread ends, and its end of the pipe with it
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

/// A fault in a slot: what resolve() and grow() do of it. Returns whether the slot had a tenant.
bool fault(std::size_t slot, std::uintptr_t number) {
  const PinnedSlot pinned(slot_begin + slot * slot_bytes);
  if (!pinned) {
    return false;
  }
  const Step step = step_for(tenants[slot], number);
  if (!commit_by_helper(pinned.range(), pinned.slot(), step)) {
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
  for (std::size_t slot = 0; slot < slot_memory.size(); ++slot) {
    explorer::require(pin_memory[slot].load(std::memory_order_relaxed) == 0, "a pin stays behind");
  }
}

void run_with(std::vector<std::function<void()>> threads, std::function<void()> begin) {
  run(std::move(threads), {[begin = std::move(begin)] {
                             timeouts_of = all;
                             pipe_may_be_full = helper_may_be_refused = false;
                             set_up_faults();
                             begin();
                           },
                           check_all});
}

TEST_CASE("a helper that lives answers every request, and a waiter needs no timeout") {
  run_with({[] { fault(0, 0), fault(0, 1); }, go_on_helping}, [] {
    timeouts_of = none;
    start_before(1);
  });
}

TEST_CASE("a helper starts while a thread faults") {
  run_with({[] { fault(0, 0), fault(0, 1); }, help}, [] { timeouts_of = none; });
}

TEST_CASE("two threads fault, and a helper that lives answers both") {
  run_with({[] { fault(0, 0); }, [] { fault(1, 1); }, go_on_helping}, [] {
    timeouts_of = none;
    start_before(2);
  });
}

TEST_CASE("two threads fault, and one takes its request back or leaves it") {
  run_with({[] { fault(0, 0); }, [] { fault(1, 1); }, go_on_helping}, [] {
    timeouts_of = 1;
    start_before(2);
  });
}

TEST_CASE("two threads fault, and their helper dies before any of its writes") {
  run_with({[] { fault(0, 0); }, [] { fault(1, 1); }, help_and_perhaps_die},
           [] { start_before(2); });
}

TEST_CASE("a request is taken back or left, and the slot changes hands") {
  run_with({[] { fault(0, 0); }, go_on_helping, [] { change_tenant(0, 3); }},
           [] { start_before(1); });
}

TEST_CASE("a request is taken back or left, the helper dies, and the slot changes hands") {
  run_with({[] { fault(0, 0); }, help_and_perhaps_die, [] { change_tenant(0, 3); }},
           [] { start_before(1); });
}

TEST_CASE("a thread faults again in another slot, while the helper has its last request") {
  run_with({[] { fault(0, 0), fault(1, 1); }, help_and_perhaps_die,
            [] { change_tenant(0, 3), change_tenant(1, 4); }},
           [] { start_before(1); });
}

TEST_CASE("memory is refused, and the pipe is full") {
  run_with({[] { fault(0, 0), fault(0, 1); }, go_on_helping}, [] {
    helper_may_be_refused = pipe_may_be_full = true;
    start_before(1);
  });
}

TEST_CASE("the helper is asked to end while threads fault") {
  run_with({[] { fault(0, 0); }, go_on_helping,
            [] { explorer::require(the_helper.ask_to_end(), "nobody to ask"); }},
           [] { start_before(1); });
}

}  // namespace
}  // namespace modelled
