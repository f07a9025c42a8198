// Test cases that are asked of several strategies: EVERY_STRATEGY("...") { ... Of::strategy ... } is one ctest test for
// each.
#pragma once

#include <doctest/doctest.h>

#include <growstack/strategy.hpp>

namespace growstack::testing {

struct PipeHelper {
  static constexpr Strategy strategy = Strategy::pipe_helper;
};
struct InHandler {
  static constexpr Strategy strategy = Strategy::in_handler;
};
struct GrowsDown {
  static constexpr Strategy strategy = Strategy::grows_down;
};
struct DemandPaging {
  static constexpr Strategy strategy = Strategy::demand_paging;
};

inline bool grows_by_our_faults(Strategy strategy) {
  return strategy == Strategy::pipe_helper || strategy == Strategy::in_handler;
}

}  // namespace growstack::testing

// In the names of tests.
TYPE_TO_STRING_AS("pipe_helper", growstack::testing::PipeHelper);
TYPE_TO_STRING_AS("in_handler", growstack::testing::InHandler);
TYPE_TO_STRING_AS("grows_down", growstack::testing::GrowsDown);
TYPE_TO_STRING_AS("demand_paging", growstack::testing::DemandPaging);

#define EVERY_STRATEGY(promise)                                                                  \
  TEST_CASE_TEMPLATE(promise, Of, growstack::testing::PipeHelper, growstack::testing::InHandler, \
                     growstack::testing::GrowsDown, growstack::testing::DemandPaging)
#define STRATEGIES_GROWN_BY_FAULT(promise) \
  TEST_CASE_TEMPLATE(promise, Of, growstack::testing::PipeHelper, growstack::testing::InHandler)
/// Those whose committed memory is charged.
#define CHARGED_STRATEGIES(promise)                                                              \
  TEST_CASE_TEMPLATE(promise, Of, growstack::testing::PipeHelper, growstack::testing::InHandler, \
                     growstack::testing::GrowsDown)
