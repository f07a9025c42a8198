// The places where code runs on a growable stack.
#pragma once

#include <growstack/growstack.hpp>

#include "support/each_strategy.hpp"
#include "support/forked.hpp"

#include <unistd.h>

#include <cstdio>
#include <functional>
#include <future>
#include <string_view>

namespace growstack::testing {

enum class Place : std::uint8_t { call, thread, pooled_stack, forked_child };
inline constexpr Place every_place[] = {Place::call, Place::thread, Place::pooled_stack,
                                        Place::forked_child};

[[nodiscard]] constexpr std::string_view name_of(Place place) {
  switch (place) {
    case Place::call:
      return "call";
    case Place::thread:
      return "Thread";
    case Place::pooled_stack:
      return "pooled stack";
    case Place::forked_child:
      return "forked child";
  }
  return "";
}

/// Returns whether a stack of this strategy can be there.
[[nodiscard]] constexpr bool exists(Place place, const Traits& of) {
  return place != Place::pooled_stack || of.pools;
}

/// Returns whether growth there comes to us as an event. No monitor watches in a forked child.
[[nodiscard]] constexpr bool tells_growth(Place place, const Traits& of) {
  const bool by_monitor = of.growth_events && of.grows_by == 0;
  return of.growth_events && !(by_monitor && place == Place::forked_child);
}

/// Returns whether the memory below a stack's limit cannot be used by the kernel, so that it finds
/// no room there for the frame of a signal. The monitor of userfault serves the kernel, too, if it
/// has the privilege.
[[nodiscard]] inline bool refuses_kernel(Place place, const Traits& of) {
  return of.in_system_calls == InSystemCalls::refused ||
         (of.in_system_calls == InSystemCalls::by_right && place != Place::forked_child &&
          !supported(of.strategy).reason.empty());
}

/// Grows by one page at a time, so that each page is a growth.
inline constexpr GrowthPolicy page_by_page{.initial_commit = std::size_t{64} * 1024,
                                           .factor = 1,
                                           .least_step = std::size_t{4} * 1024,
                                           .headroom = 0};

/// Runs body(stack) there, on the stack, and returns its result, which is 0 if all went well. A
/// thread has one stack for all its time; elsewhere `rounds` tells how often the body runs, each
/// time on a stack that was trimmed.
inline int run_in(Place place, const Traits& of, const GrowthPolicy& policy,
                  const std::function<int(Stack&)>& body, int rounds = 1) {
  const StackOptions options{
      .reserve = 2 * MiB, .policy = policy, .strategy = of.strategy, .name = "proof"};
  const auto in_rounds = [&](Stack& stack) {
    int result = 0;
    for (int round = 0; round < rounds && result == 0; ++round) {
      if (of.trims && round != 0 && stack.trim()) {
        std::puts("a stack cannot be trimmed");
        return 1;
      }
      result = call(stack, body, stack);
    }
    return result;
  };
  switch (place) {
    case Place::call: {
      Stack stack(options);
      return in_rounds(stack);
    }
    case Place::thread: {
      std::promise<Stack*> told;
      int result = 1;
      Thread thread(Stack(options), [&] { result = body(*told.get_future().get()); });
      told.set_value(const_cast<Stack*>(&thread.stack()));
      thread.join();
      return result;
    }
    case Place::pooled_stack: {
      StackPool pool({.reserve = 2 * MiB, .policy = policy, .strategy = of.strategy});
      Stack stack = pool.acquire("proof");
      return in_rounds(stack);
    }
    case Place::forked_child: {
      Stack stack(options);
      return end_of_child([&] {
        alarm(100);  // on a busy machine
        const int result = in_rounds(stack);
        std::fflush(stdout);
        return result;
      });
    }
  }
  return 1;
}

}  // namespace growstack::testing
