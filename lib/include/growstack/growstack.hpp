// growstack: stacks that start with one resident page and grow as far as they need.
//
//     #include <growstack/growstack.hpp>
//     #include <cstdio>
//
//     int depth(int n) {
//       volatile int here = n;
//       return n == 0 ? 0 : depth(n - 1) + (here == n);
//     }
//
//     int main() {
//       const growstack::StackOptions options{.reserve = 1ULL << 30, .name = "deep"};
//       std::printf("%d\n", growstack::call(options, depth, 10'000'000));
//     }
//
// The picture in growstack/handler/slot.hpp explains the words base, limit, floor, guard and
// committed. Reserved is the address space from floor to base. Resident is what is in physical
// memory now.
#pragma once

#include <growstack/attach.hpp>
#include <growstack/call.hpp>
#include <growstack/current_stack.hpp>
#include <growstack/ensure_stack.hpp>
#include <growstack/export.hpp>
#include <growstack/growth_policy.hpp>
#include <growstack/handler/handler.hpp>
#include <growstack/handler/report.hpp>
#include <growstack/handler/signals.hpp>
#include <growstack/headroom.hpp>
#include <growstack/memory_resource.hpp>
#include <growstack/options.hpp>
#include <growstack/stack.hpp>
#include <growstack/stack_pool.hpp>
#include <growstack/strategy.hpp>
#include <growstack/thread.hpp>
#include <growstack/ucontext.hpp>
