// Very many stacks at once, under default limits: each has a guard, and none has a mapping of its
// own.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/stack_pool.hpp>

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/pools.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <cstdio>
#include <random>
#include <string>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

constexpr std::size_t many = 100'000;

const PoolOptions options{.strategy = Strategy::guard_markers, .name = "one of many"};

/// Returns why so many cannot be tried here. Empty if they can.
std::string obstacle() {
  if (sanitized) {
    return "a sanitizer's shadow memory would be as large again";
  }
  // Each needs a page or two of data and two of page tables, and some go deep.
  constexpr std::size_t needed = 4 * GiB;
  if (available_memory() < needed) {
    return "this takes up to 4 GiB of memory, and there are " +
           std::to_string(available_memory() / MiB) + " MiB";
  }
  return {};
}

unsigned char token(std::size_t index) { return static_cast<unsigned char>(1 + index % 251); }

/// Acquires many stacks, and enters each by a call that leaves something there.
std::vector<Stack> enter_many(StackPool& pool) {
  std::vector<Stack> stacks;
  stacks.reserve(many);
  for (std::size_t index = 0; index < many; ++index) {
    stacks.push_back(pool.acquire());
    Stack& stack = stacks.back();
    call(stack, [&] { touch_in_one_jump(address_of(stack.base()) - 6 * KiB, token(index)); });
  }
  return stacks;
}

bool has_token(const Stack& stack, std::size_t index) {
  return *(static_cast<const volatile unsigned char*>(stack.base()) - 6 * KiB) == token(index);
}

std::size_t without_token(const std::vector<Stack>& stacks) {
  std::size_t wrong = 0;
  for (std::size_t index = 0; index < stacks.size(); ++index) {
    wrong += has_token(stacks[index], index) ? 0 : 1;
  }
  return wrong;
}

}  // namespace

ONE_STRATEGY(
    Strategy::guard_markers,
    "a hundred thousand stacks live at once, all with guards and with hardly a mapping more") {
  if (const std::string why = obstacle(); !why.empty()) {
    return skip(why);
  }
  StackPool pool(options);
  const std::size_t mappings = mapping_count();
  std::vector<Stack> stacks = enter_many(pool);
  CHECK(mapping_count() <= mappings + 8);
  CHECK(pool.statistics().live == many);
  CHECK(pool.statistics().arenas <= 3);
  CHECK(without_token(stacks) == 0);
  Probe probe;
  std::size_t unguarded = 0;
  for (const Stack& stack : stacks) {
    unguarded += probe.guarded(stack) ? 0 : 1;
  }
  CHECK(unguarded == 0);

  std::mt19937 random(1);
  std::size_t wrong = 0;
  for (int count = 0; count < 100; ++count) {
    const std::size_t index = random() % many;
    Stack& stack = stacks[index];
    wrong += call(stack, [&] { return descend_to(address_of(stack.floor())); });
    wrong += stack.high_water_mark() >= 8 * MiB - 64 * KiB ? 0 : 1;
    wrong += stack.trim() ? 1 : 0;
    call(stack, [&] { touch_in_one_jump(address_of(stack.base()) - 6 * KiB, token(index)); });
    wrong += probe.guarded(stack) ? 0 : 1;
  }
  CHECK(wrong == 0);
  CHECK(without_token(stacks) == 0);
  CHECK(mapping_count() <= mappings + 8);
}

ONE_STRATEGY(
    Strategy::guard_markers,
    "a hundred thousand stacks take a few mappings besides their pages, and all of it comes back") {
  if (const std::string why = obstacle(); !why.empty()) {
    return skip(why);
  }
  StackPool pool(options);
  const std::size_t few = mapping_count();
  const std::size_t address_space = status_bytes("VmSize");
  for (int round = 0; round < 2; ++round) {
    CAPTURE(round);
    enter_many(pool);
    CHECK(mapping_count() <= few + 8);
    pool.trim();
    CHECK(pool.statistics().arenas == 0);
    CHECK(pool.statistics().committed == 0);
    CHECK(mapping_count() <= few + 2);
    CHECK(status_bytes("VmSize") <= address_space + GiB);  // the slot records stay
    CHECK(status_bytes("VmRSS") <= GiB / 4);
  }
}

ONE_STRATEGY(Strategy::guard_markers,
             "of many stacks only those that are still in use keep their arena and what was "
             "written to them") {
  if (const std::string why = obstacle(); !why.empty()) {
    return skip(why);
  }
  StackPool pool(options);
  std::vector<Stack> stacks = enter_many(pool);
  const std::size_t arenas = pool.statistics().arenas;
  CHECK(arenas >= 3);
  // The first arenas become almost empty, and the last one becomes empty.
  std::vector<std::pair<std::size_t, Stack>> survivors;
  for (std::size_t index = 0; index < many / 2; index += 997) {
    survivors.emplace_back(index, std::move(stacks[index]));
  }
  stacks.clear();
  CHECK(pool.statistics().live == survivors.size());
  pool.trim();
  const PoolStatistics trimmed = pool.statistics();
  CHECK(trimmed.live == survivors.size());
  CHECK(trimmed.cached == 0);
  CHECK(trimmed.arenas < arenas);
  CHECK(trimmed.arenas >= 1);
  CHECK(pool.resident() <= survivors.size() * 2 * warm_size);
  Probe probe;
  std::size_t wrong = 0;
  for (const auto& [index, stack] : survivors) {
    wrong += has_token(stack, index) && probe.guarded(stack) ? 0 : 1;
  }
  CHECK(wrong == 0);
  // There is room again between them.
  for (const Stack& stack : enter_many(pool)) {
    wrong += probe.guarded(stack) ? 0 : 1;
  }
  for (auto& [index, stack] : survivors) {
    wrong += has_token(stack, index) ? 0 : 1;
    wrong += call(stack, [] { return descend(MiB); });
  }
  CHECK(wrong == 0);
  survivors.clear();
  pool.trim();
  CHECK(pool.statistics().arenas == 0);
}

GROWSTACK_SCENARIO("one of many overflows") {
  no_core();
  StackPool pool(options);
  std::vector<Stack> stacks = enter_many(pool);
  Stack& doomed = stacks[many / 2];
  const int end = end_of_child([&] {
    call(doomed, [&] { descend_to(address_of(doomed.floor()) - 64 * KiB); });
    return 0;
  });
  require(end == killed_by(SIGSEGV), "the child dies of it: " + std::to_string(end));
  require(without_token(stacks) == 0, "the others are as they were");
  require(call(doomed, [&] { return descend_to(address_of(doomed.floor())); }) == 0,
          "and so is the stack itself in the parent");
  return 7;
}

ONE_STRATEGY(Strategy::guard_markers,
             "when one of a hundred thousand stacks overflows, the report names it, and no other "
             "is touched") {
  if (const std::string why = obstacle(); !why.empty()) {
    return skip(why);
  }
  const Ended ended = run_scenario("one of many overflows");
  CAPTURE(ended.err);
  CHECK(ended.exit_code == 7);
  CHECK(contains(ended.err, "stack overflow: thread"));
  CHECK(contains(ended.err, "stack \"one of many\""));
  CHECK(!contains(ended.err, "NOT FULFILLED"));
}
