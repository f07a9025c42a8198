// Budgets that several stacks use up at once: who needs a page that is left gets it.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/stack_pool.hpp>

#include "memory/account.hpp"

#include "support/address_of.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <pthread.h>

#include <barrier>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using namespace growstack;
using namespace growstack::testing;
using growstack::handler::page_size;

namespace {

constexpr std::size_t initial_commit = 64 * KiB;
constexpr std::size_t step_pages = 16;
constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();

/// A step is as large as all that the others need together, or larger.
constexpr GrowthPolicy in_large_steps{.initial_commit = initial_commit,
                                      .factor = 1,
                                      .least_step = step_pages * 4 * KiB,
                                      .headroom = 0,
                                      .huge_from = 0};

enum class Budget : std::uint8_t { of_the_process, of_the_pool, of_both };

/// Stacks that grow at the same time, each in a thread of its own. All but one need `pages_of_each`
/// pages. One takes a whole step, because at first there is room for one. The budget has room for
/// just that.
class Together {
 public:
  Together(Strategy strategy, std::size_t count, std::optional<Budget> pooled)
      : pages_of_each_((step_pages - 1) / (count - 1)),
        budget_(count * initial_commit +
                (step_pages + (count - 1) * pages_of_each_) * page_size()) {
    if (pooled) {
      const bool is_limited = *pooled != Budget::of_the_process;
      pool_.emplace(PoolOptions{.reserve = MiB,
                                .policy = in_large_steps,
                                .strategy = strategy,
                                .budget = is_limited ? budget_ : unlimited,
                                .retention = std::chrono::milliseconds(0)});
    }
    while (stacks_.size() < count) {
      stacks_.push_back(pool_ ? pool_->acquire()
                              : Stack({.reserve = MiB,
                                       .policy = in_large_steps,
                                       .strategy = strategy,
                                       .name = "near the budget"}));
    }
    if (pooled != Budget::of_the_pool) {
      set_process_budget(budget_);
    }
  }

  /// Lets all stacks grow at once, page by page, and then trims them. Returns how often not exactly
  /// the budget was used.
  std::size_t grow(std::size_t rounds) {
    const auto count = static_cast<std::ptrdiff_t>(stacks_.size());
    std::barrier begin(count + 1);
    std::barrier all_run(count);
    std::barrier end(count + 1);
    std::vector<std::thread> threads;
    for (Stack& stack : stacks_) {
      threads.emplace_back([&] {
        for (std::size_t round = 0; round < rounds; ++round) {
          begin.arrive_and_wait();
          call(stack, [&] {
            all_run.arrive_and_wait();
            for (std::size_t page = 1; page <= pages_of_each_; ++page) {
              touch_in_one_jump(address_of(stack.base()) - initial_commit - page * page_size());
            }
          });
          end.arrive_and_wait();
        }
      });
    }
    std::size_t wrong = 0;
    for (std::size_t round = 0; round < rounds; ++round) {
      begin.arrive_and_wait();
      end.arrive_and_wait();
      wrong += process_account().used() == budget_ ? 0 : 1;
      for (Stack& stack : stacks_) {
        wrong += stack.trim() ? 1 : 0;
      }
    }
    for (std::thread& each : threads) {
      each.join();
    }
    return wrong;
  }

 private:
  std::size_t pages_of_each_;
  std::size_t budget_;
  std::optional<StackPool> pool_;
  std::vector<Stack> stacks_;
};

/// Returns 7 if all stacks grew to the last page of the budget, as often as they were asked.
int end_of_growth(Strategy strategy, std::size_t count, std::optional<Budget> pooled) {
  return end_of_child([&] {
    Together together(strategy, count, pooled);
    return together.grow(sanitized ? 5 : 50) == 0 ? 7 : 1;
  });
}

}  // namespace

STRATEGIES_WHERE(traits.growth_events,
                 "stacks that grow at once can use the budget of the process to its last page") {
  CHECK(end_of_growth(Of::strategy, 2, std::nullopt) == 7);
  CHECK(end_of_growth(Of::strategy, 4, std::nullopt) == 7);
}

STRATEGIES_WHERE(traits.growth_events&& traits.pools,
                 "stacks of a pool that grow at once can use a budget to its last page, be it the "
                 "pool's, or that of the process, or both") {
  for (const Budget budget : {Budget::of_the_process, Budget::of_the_pool, Budget::of_both}) {
    CAPTURE(static_cast<int>(budget));
    CHECK(end_of_growth(Of::strategy, 2, budget) == 7);
    CHECK(end_of_growth(Of::strategy, 4, budget) == 7);
  }
}

namespace {

/// Lets a stack grow page by page from a place deep below its base, where it would rather grow in
/// huge pages. Returns 7 if that uses the budget to its last page.
int use_up_deep_below(Strategy strategy) {
  constexpr std::size_t pages = 21;
  Stack stack({.reserve = 32 * MiB, .strategy = strategy});
  call(stack, [] { descend(8 * MiB); });
  if (stack.trim_below(static_cast<char*>(stack.base()) - 5 * MiB)) {
    return 1;
  }
  const std::uintptr_t limit = address_of(stack.limit());
  const std::size_t budget = process_account().used() + pages * page_size();
  set_process_budget(budget);
  call(stack, [&] {
    for (std::size_t page = 1; page <= pages; ++page) {
      touch_in_one_jump(limit - page * page_size());
    }
  });
  return process_account().used() == budget &&
                 address_of(stack.limit()) == limit - pages * page_size()
             ? 7
             : 2;
}

}  // namespace

STRATEGIES_WHERE(traits.growth_events,
                 "a budget is used to its last page also where a stack grows in huge pages") {
  CHECK(end_of_child([] { return use_up_deep_below(Of::strategy); }) == 7);
}

TEST_CASE("what a budget refuses ahead of need is ENOMEM, and a thread says which budget") {
  CHECK(end_of_child([] {
          Stack stack({.reserve = 64 * MiB, .policy = {.initial_commit = 4 * KiB}});
          Stack thread_stack({.reserve = 64 * MiB, .policy = {.initial_commit = 4 * KiB}});
          // One page is left.
          growstack::set_process_budget(3 * growstack::handler::page_size());
          const auto no_memory = std::errc::not_enough_memory;
          const char* const low = static_cast<const char*>(stack.base()) - MiB;
          if (growstack::ensure_committed(low, MiB) != no_memory) {
            return 1;
          }
          pthread_t thread{};
          const auto nothing = [](void*) -> void* { return nullptr; };
          if (growstack::create_thread(&thread, thread_stack, nullptr, nothing, nullptr) !=
              ENOMEM) {
            return 2;
          }
          const std::string refused =
              error_of([&] { growstack::Thread(std::move(thread_stack), [] {}).join(); });
          return contains(refused, "the budget is used up: the budget of the process") ? 7 : 3;
        }) == 7);
}
