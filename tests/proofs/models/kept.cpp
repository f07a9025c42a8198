// What is kept for the next stack (pool/kept_pools.cpp, arenas/idle_arenas.cpp), in every
// interleaving of threads that make and end stacks with one that gives back. What must hold:
//
//     No stack has two tenants; no memory of a stack in use is given back; nothing is touched that
//     was freed (the ledger, races.cpp).
//     Whoever asks for a stack gets one, if what it lacks is only kept.
//     When all is given back, nothing is left.
#include <doctest/doctest.h>

#include "arenas/idle_arenas.hpp"
#include "arenas/single_stacks.hpp"
#include "models/run_pools.hpp"
#include "pool/kept_pools.hpp"
#include "stacks/stack_access.hpp"

#include <atomic>
#include <memory>
#include <system_error>

using namespace growstack;
using interleavings::require;
using ledger::Tenancy;

namespace {

StackOptions options_of(std::size_t reserve) {
  return {.reserve = reserve,
          .guard = 4096,
          .policy = policy_of_models,
          .strategy = ledger::closes,
          .core_depth = 0};
}
const StackOptions usual = options_of(few_in_an_arena);
const StackOptions other = options_of(2 * few_in_an_arena);

Stack kept_stack(const StackOptions& options) {
  const OpenSlot slot = acquire_kept(options);
  require(static_cast<bool>(slot), "no stack is kept, although there is room for its pool");
  return StackAccess::stack_in(slot);
}

void call(const StackOptions& options) { const Tenancy tenancy(kept_stack(options)); }

void give_all_back() {
  give_kept_pools_back();
  give_idle_arenas_back();
}

void end() {
  give_all_back();
  require_nothing_left();
}

/// One stack is kept. The thread that left it does not exist any more.
void begin() {
  ledger::begin();
  call(usual);
  interleavings::end_thread();
}

Stack single_stack(const StackOptions& options) {
  return StackAccess::stack_in(open_single_stack(options));
}

}  // namespace

TEST_CASE("a call takes the stack of the last one, or a new one, while all is given back") {
  check({begin,
         {[] {
            call(usual);
            call(usual);
          },
          give_kept_pools_back},
         end});
}

TEST_CASE("a call takes the stack of the last one, or a new one, while it becomes due") {
  check({begin,
         {[] { call(usual); },
          [] {
            ledger::let_time_pass(2'000'000'000);
            static_cast<void>(give_due_kept_pools_back());
          }},
         end});
}

TEST_CASE("threads that call and end leave nothing that others could still find") {
  check({begin,
         {[] {
            call(usual);
            interleavings::end_thread();
          },
          give_kept_pools_back},
         end});
}

TEST_CASE("a call of other options gets what is only kept, whoever gives it back") {
  check({[] {
           begin();
           ledger::limit_stacks(1);
         },
         {[] { call(other); }, give_kept_pools_back},
         end});
}

TEST_CASE("a forked child calls on stacks of its own, and those of its parent go") {
  static bool is_child;
  check({[] {
           begin();
           is_child = false;
         },
         {[] { call(usual); },
          [] {
            call(usual);
            interleavings::fork_here([] {
              is_child = true;
              const std::size_t before = ledger::reservations_so_far();
              {
                const Tenancy tenancy(kept_stack(usual));
                require(ledger::is_from_after(tenancy.stack(), before),
                        "a child runs on a stack of its parent's pool");
              }
              give_kept_pools_back();
            });
          }},
         [] {
           require(ledger::give_back_lost() <= (is_child ? 1U : 0U),
                   "more is lost than what was in use");
           end();
         }});
}

TEST_CASE("single stacks take an arena that was kept, or another one, while all are given back") {
  const auto use_single = [] { const Tenancy tenancy(single_stack(usual)); };
  check({[=] {
           ledger::begin();
           use_single();
         },
         {use_single, use_single, give_idle_arenas_back},
         end});
}
