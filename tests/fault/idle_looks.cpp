// Memory that is only kept goes to a stack that grows: the fault asks the symbolizer, which looks
// after what is kept, and waits for it. The keeper here is the test's own.
#include <doctest/doctest.h>

#include <growstack/handler/handler.hpp>
#include <growstack/handler/idle.hpp>
#include <growstack/handler/is_readable.hpp>
#include <growstack/handler/report.hpp>

#include "anywhere/fork_wiped.hpp"
#include "fault/idle_request.hpp"
#include "support/address_of.hpp"
#include "support/forked.hpp"
#include "support/one_slot.hpp"
#include "support/scenario.hpp"
#include "threads/idle_looks.hpp"
#include "threads/symbolizer.hpp"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <thread>

using namespace growstack::handler;
using namespace growstack::testing;
using namespace std::chrono_literals;

namespace {

/// Until then, commits are refused.
std::atomic<bool> has_memory{false};
std::atomic<bool> is_looking{false};
std::atomic<int> looks{0};

/// Long enough that nobody has waited for it by chance.
void take_some_time() { usleep(30'000); }

constexpr Operations operations{
    .plan = to_the_limit,
    .commit = [](const Range&, const SlotRecord&,
                 Step step) noexcept { return has_memory ? make_writable(step) : ENOMEM; },
    .on_overflow = [](const SlotRecord&, const Fault&, void*,
                      int) noexcept { return Disposition::forward; }};

void give_after_some_time() noexcept {
  take_some_time();
  has_memory = true;
}

void give_nothing() noexcept {}

std::chrono::milliseconds look_and_find_nothing() noexcept { return 0ms; }

std::chrono::milliseconds look_and_give() noexcept {
  is_looking = true;
  give_after_some_time();
  is_looking = false;
  ++looks;
  return 0ms;
}

std::chrono::milliseconds look_and_keep() noexcept {
  ++looks;
  return 1h;
}

constexpr IdleKeeper gives_all{.give_all_back = give_after_some_time,
                               .give_due_back = look_and_find_nothing};
constexpr IdleKeeper gives_when_due{.give_all_back = give_nothing, .give_due_back = look_and_give};
constexpr IdleKeeper looks_again{.give_all_back = give_nothing, .give_due_back = look_and_keep};

void wait_until(const std::atomic<bool>& word) {
  while (!word) {
    usleep(100);
  }
}

bool grows(const OneSlot& slot) {
  const std::uintptr_t before = slot.limit();
  slot.touch(3);
  return slot.limit() < before;
}

}  // namespace

GROWSTACK_SCENARIO("refused while something is kept") {
  no_core();
  const OneSlot slot(operations, Committer::handler);
  set_idle_keeper(gives_all);
  require(look_after_idle(1h) == 0, "a symbolizer");
  return grows(slot) ? 7 : 1;
}

TEST_CASE("a fault that is refused memory waits until what is kept was given back") {
  CHECK(run_scenario("refused while something is kept").exit_code == 7);
}

GROWSTACK_SCENARIO("refused while somebody looks") {
  no_core();
  const OneSlot slot(operations, Committer::handler);
  set_idle_keeper(gives_when_due);
  require(look_after_idle(0ms) == 0, "a symbolizer");
  wait_until(is_looking);
  return grows(slot) ? 7 : 1;
}

TEST_CASE("a fault that is refused memory during a look waits for its end") {
  CHECK(run_scenario("refused while somebody looks").exit_code == 7);
}

GROWSTACK_SCENARIO("refused without a symbolizer") {
  const OneSlot slot(operations, Committer::handler);
  set_idle_keeper(gives_all);
  require(look_after_idle(1h) == 0, "a symbolizer");
  set_symbolizer(false);
  const bool is_answered = have_idle_given_back(looks_at_idle());
  return !is_answered && fork_wiped()->idle_wanted == 0 ? 7 : 1;
}

TEST_CASE("where there is no thread that gives back, a fault asks nobody") {
  CHECK(run_scenario("refused without a symbolizer").exit_code == 7);
}

GROWSTACK_SCENARIO("two times are set") {
  const OneSlot slot(operations, Committer::handler);
  set_idle_keeper(looks_again);
  set_next_look(1h);
  const std::int64_t first = fork_wiped()->next_look;
  set_next_look(10h);
  wake_parked_thread(fork_wiped()->symbol_state);  // before the time
  take_some_time();
  return first != 0 && fork_wiped()->next_look == first && looks == 0 ? 7 : 1;
}

TEST_CASE("a look that is due is neither moved by another one nor done before its time") {
  CHECK(run_scenario("two times are set").exit_code == 7);
}

GROWSTACK_SCENARIO("the keeper asks for another look") {
  const OneSlot slot(operations, Committer::handler);
  set_idle_keeper(looks_again);
  set_next_look(0ms);
  while (looks == 0 || fork_wiped()->looks % 2 == 1) {
    usleep(100);
  }
  return looks == 1 && has_next_look() ? 7 : 1;
}

TEST_CASE("a look is followed by the next one that the keeper asks for") {
  CHECK(run_scenario("the keeper asks for another look").exit_code == 7);
}

GROWSTACK_SCENARIO("the symbolizer is ended by who holds its lock") {
  const OneSlot slot(operations, Committer::handler);
  set_idle_keeper(gives_when_due);
  const std::lock_guard held(idle_lock());
  set_next_look(0ms);
  take_some_time();
  the_symbolizer.end();
  const bool was_joined = fork_wiped()->left_stacks == nullptr;
  return was_joined && looks == 0 ? 7 : 1;
}

TEST_CASE("a look does not wait for who ends the thread that looks") {
  CHECK(run_scenario("the symbolizer is ended by who holds its lock").exit_code == 7);
}

GROWSTACK_SCENARIO("forked during a look") {
  const OneSlot slot(operations, Committer::handler);
  set_idle_keeper(gives_when_due);
  set_next_look(0ms);
  wait_until(is_looking);
  const int child = end_of_child([] { return is_looking ? 1 : 7; });
  return child == 7 ? 7 : 1;
}

TEST_CASE("a fork waits for the end of a look") {
  CHECK(run_scenario("forked during a look").exit_code == 7);
}

GROWSTACK_SCENARIO("an alternate stack is kept") {
  { const OneSlot slot(operations, Committer::handler); }
  set_idle_keeper(gives_when_due);
  stack_t kept{};
  std::thread([&] {
    require(attach_thread() == 0, "attach_thread");
    sigaltstack(nullptr, &kept);
  }).join();
  const std::uintptr_t place = address_of(kept.ss_sp);
  return is_readable(place) && uninstall() == 0 && !is_readable(place) ? 7 : 1;
}

TEST_CASE("uninstall gives alternate stacks back, whoever keeps what else is idle") {
  CHECK(run_scenario("an alternate stack is kept").exit_code == 7);
}
