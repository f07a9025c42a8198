// Fibers of Boost.Context that run once, to their end.
#pragma once

#include "run/timing.hpp"

#include <growstack/stack_pool.hpp>

#include <boost/context/fiber.hpp>

#include <cstddef>
#include <memory>
#include <utility>

namespace growstack::compare {

/// The allocator of a fiber whose stack belongs to somebody else.
struct Borrowed {
  void deallocate(boost::context::stack_context&) const noexcept {}
};

/// Runs body in a fiber on the stack that reaches so many bytes down from `base`.
///
/// Is inlined, because a switch leaves the processor's predictions of returns behind and makes each
/// return after it cost something: every subject's fiber lives in as many functions.
template <class Body>
[[gnu::always_inline]] inline void run_fiber_on(void* base, std::size_t bytes, const Body& body) {
  using boost::context::fiber;
  boost::context::stack_context whole;
  whole.sp = base;
  whole.size = bytes;
  fiber there(std::allocator_arg, boost::context::preallocated(whole.sp, whole.size, whole),
              Borrowed{}, [body](fiber&& back) {
                body();
                return std::move(back);
              });
  there = std::move(there).resume();
}

/// Runs body in a fiber on a stack of that allocator, and gives the stack back. All copies of an
/// allocator that has a pool share that pool.
template <class Allocator, class Body>
[[gnu::always_inline]] inline void run_fiber(const Allocator& allocator, const Body& body) {
  using boost::context::fiber;
  fiber there(std::allocator_arg, Allocator(allocator), [body](fiber&& back) {
    body();
    return std::move(back);
  });
  there = std::move(there).resume();
}

/// Times fibers that run body, each on a Stack made for it: one like those of a pool with these
/// options. Another one beside it keeps the address space, as in a program that has stacks.
template <class Body>
[[nodiscard]] Timing time_on_stacks_like(const PoolOptions& pool, Body body) {
  const StackOptions options{.reserve = pool.reserve,
                             .guard = pool.guard,
                             .policy = pool.policy,
                             .strategy = pool.strategy,
                             .name = pool.name};
  return [options, body, beside = std::make_shared<Stack>(options)](unsigned times) {
    return time_each(times, [&] {
      const Stack stack(options);
      run_fiber_on(stack.base(), stack.reserved(), body);
    });
  };
}

}  // namespace growstack::compare
