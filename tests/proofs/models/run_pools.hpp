// What models of pools share: options, and how a model is run.
#pragma once

#include "interleavings/interleavings.hpp"
#include "memory/account.hpp"
#include "models/ledger.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <iostream>

namespace growstack {

/// Arenas of few stacks, so that several arenas are soon needed.
inline constexpr std::size_t few_in_an_arena = std::size_t{16} << 30;
inline constexpr std::size_t initial = std::size_t{8} * 1024;
inline constexpr GrowthPolicy policy_of_models{.initial_commit = initial,
                                               .factor = 2,
                                               .least_step = 4096,
                                               .largest_step = std::size_t{1} << 20,
                                               .headroom = 0,
                                               .huge_from = 0};

inline void require_nothing_left() {
  using interleavings::require;
  require(ledger::open_stacks() == 0, "a stack is left behind");
  require(ledger::reservations() == 0, "address space is left behind");
  require(process_account().used() == 0, "a charge is left behind");
}

inline void check(const interleavings::Model& model) {
  const interleavings::Explored explored = interleavings::explore(model);
  MESSAGE(explored.executions << " executions, " << explored.redundant << " redundant, "
                              << explored.steps << " steps");
  CHECK_MESSAGE(explored.fault.empty(), explored.fault << "\n" << explored.trace);
  if (!explored.fault.empty()) {
    std::cout.flush();
    std::_Exit(1);  // threads of the model are where the fault left them
  }
}

}  // namespace growstack
