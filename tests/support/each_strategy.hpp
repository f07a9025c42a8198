// Test cases for several strategies. EVERY_STRATEGY("...") { ... Of::strategy ... } makes one ctest
// test for each strategy. STRATEGIES_WHERE(traits.trims, "...") makes one for each strategy that
// has the trait. Tests ask for traits, and never for names.
#pragma once

#include <doctest/doctest.h>

#include <growstack/stack.hpp>
#include <growstack/strategy.hpp>

#include "support/limits.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

namespace growstack::testing {

/// What happens in a system call that uses reserved memory which nobody has touched before.
enum class InSystemCalls : std::uint8_t {
  grows,     ///< the memory is there
  refused,   ///< EFAULT: only a fault of the program itself makes the stack grow
  by_right,  ///< one or the other, by the privileges of the process
};

/// The differences between strategies, as far as tests can see them.
struct Traits {
  Strategy strategy{};
  std::string_view name{};
  /// Faults that we serve and count make it grow, down to `grown_by_events` bytes below the base.
  /// Deeper the kernel makes it grow.
  bool growth_events = false;
  std::size_t grown_by_events = SIZE_MAX;
  /// The signal by which its faults arrive; 0 if there is none.
  int grows_by = 0;
  /// limit() begins at the initial commit. Otherwise it is the floor from the start.
  bool limit_moves = false;
  /// A touch below the floor kills the process by signal_of_overflow().
  bool guarded = true;
  /// The guard is a mapping of its own, without permissions.
  bool guard_is_mapped_apart = true;
  bool trims = true;
  /// The reserve is what was asked for, in whole pages.
  bool exact_reserve = true;
  /// The memory is in address space of ours, and not in malloc's.
  bool own_address_space = true;
  /// Nothing is resident before something runs there.
  bool starts_empty = true;
  /// The kernel charges exactly what is committed.
  bool charged = false;
  /// Its faults make memory without permissions readable and writable, step by step.
  bool grows_by_protection = false;
  bool huge_pages = false;
  bool locks_memory = false;
  /// A userfaultfd fills its memory as it grows.
  bool by_userfaultfd = false;
  /// A StackPool can have this strategy.
  bool pools = true;
  InSystemCalls in_system_calls = InSystemCalls::grows;

  /// Returns the factor by which a fault multiplies the committed part, unless the policy says
  /// otherwise.
  [[nodiscard]] constexpr std::size_t factor() const { return by_userfaultfd ? 2 : 4; }
  [[nodiscard]] constexpr bool grows_by_events_only() const {
    return growth_events && grown_by_events == SIZE_MAX;
  }
};

inline constexpr std::size_t huge_page = 2 * MiB;

/// What one page of page tables describes, less the usual guard, which lies in the same window.
inline constexpr std::size_t marker_window = huge_page - 64 * KiB;

inline constexpr Traits traits_of_pipe_helper{.strategy = Strategy::pipe_helper,
                                              .name = "pipe_helper",
                                              .growth_events = true,
                                              .grows_by = SIGSEGV,
                                              .limit_moves = true,
                                              .charged = true,
                                              .grows_by_protection = true,
                                              .in_system_calls = InSystemCalls::refused};
inline constexpr Traits traits_of_in_handler{.strategy = Strategy::in_handler,
                                             .name = "in_handler",
                                             .growth_events = true,
                                             .grows_by = SIGSEGV,
                                             .limit_moves = true,
                                             .charged = true,
                                             .grows_by_protection = true,
                                             .in_system_calls = InSystemCalls::refused};
inline constexpr Traits traits_of_guard_markers{.strategy = Strategy::guard_markers,
                                                .name = "guard_markers",
                                                .growth_events = true,
                                                .grown_by_events = marker_window,
                                                .grows_by = SIGSEGV,
                                                .limit_moves = true,
                                                .guard_is_mapped_apart = false,
                                                .exact_reserve = false,
                                                .in_system_calls = InSystemCalls::refused};
inline constexpr Traits traits_of_userfault{.strategy = Strategy::userfault,
                                            .name = "userfault",
                                            .growth_events = true,
                                            .limit_moves = true,
                                            .by_userfaultfd = true,
                                            .in_system_calls = InSystemCalls::by_right};
inline constexpr Traits traits_of_userfault_signal{.strategy = Strategy::userfault_signal,
                                                   .name = "userfault_signal",
                                                   .growth_events = true,
                                                   .grows_by = SIGBUS,
                                                   .limit_moves = true,
                                                   .guard_is_mapped_apart = false,
                                                   .by_userfaultfd = true,
                                                   .in_system_calls = InSystemCalls::refused};
inline constexpr Traits traits_of_grows_down{.strategy = Strategy::grows_down,
                                             .name = "grows_down",
                                             .limit_moves = true,
                                             .charged = true,
                                             .pools = false};
inline constexpr Traits traits_of_demand_paging{.strategy = Strategy::demand_paging,
                                                .name = "demand_paging"};
inline constexpr Traits traits_of_demand_paging_huge{
    .strategy = Strategy::demand_paging_huge, .name = "demand_paging_huge", .huge_pages = true};
inline constexpr Traits traits_of_locked{.strategy = Strategy::locked,
                                         .name = "locked",
                                         .trims = false,
                                         .starts_empty = false,
                                         .locks_memory = true};
inline constexpr Traits traits_of_heap{.strategy = Strategy::heap,
                                       .name = "heap",
                                       .guarded = false,
                                       .guard_is_mapped_apart = false,
                                       .trims = false,
                                       .own_address_space = false,
                                       .starts_empty = false,
                                       .pools = false};

/// Returns the signal that an overflow raises. A guard consists of guard markers, or of memory
/// without permissions. Where the kernel has no guard markers, the guard of userfault_signal is
/// memory that is never filled.
[[nodiscard]] inline int signal_of_overflow(Strategy strategy) {
  return strategy == Strategy::userfault_signal && !supported(Strategy::guard_markers).works
             ? SIGBUS
             : SIGSEGV;
}

/// What a test knows of its strategy: Of::strategy and Of::traits.
template <const Traits& of>
struct Subject {
  static constexpr const Traits& traits = of;
  static constexpr Strategy strategy = of.strategy;
};
using PipeHelper = Subject<traits_of_pipe_helper>;
using InHandler = Subject<traits_of_in_handler>;
using GuardMarkers = Subject<traits_of_guard_markers>;
using Userfault = Subject<traits_of_userfault>;
using UserfaultSignal = Subject<traits_of_userfault_signal>;
using GrowsDown = Subject<traits_of_grows_down>;
using DemandPaging = Subject<traits_of_demand_paging>;
using DemandPagingHuge = Subject<traits_of_demand_paging_huge>;
using Locked = Subject<traits_of_locked>;
using Heap = Subject<traits_of_heap>;

using EveryStrategy = std::tuple<PipeHelper, InHandler, GuardMarkers, Userfault, UserfaultSignal,
                                 GrowsDown, DemandPaging, DemandPagingHuge, Locked, Heap>;

namespace detail {
template <bool (*predicate)(const Traits&), class... All>
auto where(std::tuple<All...>) -> decltype(std::tuple_cat(
    std::declval<std::conditional_t<predicate(All::traits), std::tuple<All>, std::tuple<>>>()...));
}
template <bool (*predicate)(const Traits&)>
using StrategiesWhere = decltype(detail::where<predicate>(std::declval<EveryStrategy>()));

/// Skips a test of several threads if a sanitizer would map memory for them in the hole into which
/// the kernel grows the stack. Returns whether it did.
inline bool skip_because_of_holes(const Traits& of) {
  const bool grows_into_a_hole = of.limit_moves && !of.growth_events;
  if (sanitized && grows_into_a_hole) {
    skip("the memory that a sanitizer maps for threads lands in the hole below such a stack");
  }
  return sanitized && grows_into_a_hole;
}

/// Runs a test if its strategy works here, and otherwise skips it with the reason.
template <class Of>
void ask(void (*promise)()) {
  if constexpr (Of::traits.locks_memory) {
    raise_soft_limit(RLIMIT_MEMLOCK);
  }
  if (const Support here = supported(Of::strategy); !here) {
    return skip(here.reason);
  }
  if constexpr (Of::traits.locks_memory) {
    try {
      promise();
    } catch (const std::system_error& error) {
      if (!contains(error.what(), "RLIMIT_MEMLOCK")) {
        throw;
      }
      skip(error.what());  // this machine's limit is too low for the test
    }
  } else {
    promise();
  }
}

/// Registers the scenarios "what pipe_helper", "what in_handler" and so on, each of which runs
/// body(traits).
template <int (*body)(const Traits&)>
struct ScenarioOfEach {
  explicit ScenarioOfEach(const std::string& what) {
    add(what, static_cast<EveryStrategy*>(nullptr));
  }

 private:
  template <class... All>
  static void add(const std::string& what, std::tuple<All...>*) {
    (static_cast<void>(Scenario((what + " " + std::string(All::traits.name)).c_str(),
                                [] { return body(All::traits); })),
     ...);
  }
};

/// Runs the scenario that ScenarioOfEach registered for this strategy.
inline Ended run_scenario_of(const std::string& what, const Traits& traits,
                             std::chrono::seconds patience = std::chrono::seconds(60)) {
  return run_scenario(what + " " + std::string(traits.name), patience);
}

}  // namespace growstack::testing

// How the strategies are called in the names of tests.
TYPE_TO_STRING_AS("pipe_helper", growstack::testing::PipeHelper);
TYPE_TO_STRING_AS("in_handler", growstack::testing::InHandler);
TYPE_TO_STRING_AS("guard_markers", growstack::testing::GuardMarkers);
TYPE_TO_STRING_AS("userfault", growstack::testing::Userfault);
TYPE_TO_STRING_AS("userfault_signal", growstack::testing::UserfaultSignal);
TYPE_TO_STRING_AS("grows_down", growstack::testing::GrowsDown);
TYPE_TO_STRING_AS("demand_paging", growstack::testing::DemandPaging);
TYPE_TO_STRING_AS("demand_paging_huge", growstack::testing::DemandPagingHuge);
TYPE_TO_STRING_AS("locked", growstack::testing::Locked);
TYPE_TO_STRING_AS("heap", growstack::testing::Heap);

#define GROWSTACK_STRATEGIES_WHERE(promise, anonymous, condition)                                 \
  template <class Of>                                                                             \
  static void anonymous();                                                                        \
  static constexpr bool DOCTEST_CAT(                                                              \
      anonymous, _where)([[maybe_unused]] const growstack::testing::Traits& traits) {             \
    return condition;                                                                             \
  }                                                                                               \
  TEST_CASE_TEMPLATE_DEFINE(promise, Of, DOCTEST_CAT(anonymous, _asked)) {                        \
    growstack::testing::ask<Of>(&anonymous<Of>);                                                  \
  }                                                                                               \
  TEST_CASE_TEMPLATE_APPLY(DOCTEST_CAT(anonymous, _asked),                                        \
                           growstack::testing::StrategiesWhere<&DOCTEST_CAT(anonymous, _where)>); \
  template <class Of>                                                                             \
  static void anonymous()

/// Makes a test for each strategy for which `condition` is true, an expression of `traits`.
#define STRATEGIES_WHERE(condition, promise) \
  GROWSTACK_STRATEGIES_WHERE(promise, DOCTEST_ANONYMOUS(growstack_promise_), condition)
#define EVERY_STRATEGY(promise) STRATEGIES_WHERE(true, promise)

#define GROWSTACK_ONE_STRATEGY(strategy, promise, anonymous)                     \
  static void anonymous();                                                       \
  TEST_CASE(promise) {                                                           \
    if (const growstack::Support here = growstack::supported(strategy); !here) { \
      return growstack::testing::skip(here.reason);                              \
    }                                                                            \
    anonymous();                                                                 \
  }                                                                              \
  static void anonymous()

/// Makes a test of what only one strategy promises.
#define ONE_STRATEGY(strategy, promise) \
  GROWSTACK_ONE_STRATEGY(strategy, promise, DOCTEST_ANONYMOUS(growstack_promise_))
