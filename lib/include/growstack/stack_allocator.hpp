// Growable stacks for Boost.Context, Boost.Coroutine2 and Boost.Fiber.
//
//     using boost::context::fiber;
//     fiber there(std::allocator_arg, growstack::stack_allocator(),
//                 [](fiber&& back) { return std::move(back); });
//
//     using Numbers = boost::coroutines2::coroutine<int>;
//     Numbers::pull_type numbers(growstack::pooled_stack_allocator(),
//                                [](Numbers::push_type& yield) { yield(1); });
//
//     growstack::pooled_stack_allocator stacks;
//     boost::fibers::fiber(std::allocator_arg, stacks, [] {}).join();
//
// Both allocators attach the thread that allocates. A thread that only resumes what other threads
// made must be attached, too: by attach_thread() in growstack/attach.hpp, by
// growstack/boost_fiber.hpp in the workers of Boost.Fiber, or by the library growstack::attach_all.
// Once a thread is enough. If other code may block SIGSEGV or SIGBUS, take the thread's alternate
// signal stack away or set another handler afterwards, link growstack::keep_handler, which prevents
// that.
//
// Header-only, so that the library itself needs only Boost.Context.
#pragma once

#include <growstack/export.hpp>
#include <growstack/stack.hpp>
#include <growstack/stack_pool.hpp>

#include <boost/context/stack_context.hpp>
#include <boost/context/stack_traits.hpp>

#include <cstddef>
#include <memory>
#include <utility>

namespace growstack {

namespace detail {

inline boost::context::stack_context as_context(ReleasedStack stack) noexcept {
  boost::context::stack_context context;
  context.size = stack.reserved;
  context.sp = stack.base;
  return context;
}

}  // namespace detail

/// Allocates stacks as a StackAllocator of Boost.Context. Each stack is made alone, and gives its
/// memory and its charge back when it ends (~Stack tells when its address space goes). For stacks
/// that are few, or of different kinds; pooled_stack_allocator is a hundred times as fast. Copies
/// have the same options. Any thread may allocate, and any thread may deallocate.
class stack_allocator {
 public:
  /// Boost's description of stacks in general.
  using traits_type = boost::context::stack_traits;

  /// Allocates stacks of 8 MiB, of the strategy that is best here (Strategy::automatic). At first
  /// they commit as little as the stacks of a pool.
  stack_allocator() : stack_allocator(PoolOptions().reserve) {}
  /// Allocates stacks of `reserve` bytes, of the strategy that is best here (Strategy::automatic).
  /// At first they commit as little as the stacks of a pool.
  explicit stack_allocator(std::size_t reserve)
      : stack_allocator(StackOptions{.reserve = reserve,
                                     .policy = GrowthPolicy::pooled(),
                                     .strategy = Strategy::automatic,
                                     .name = "fiber"}) {}
  /// Allocates stacks of these options. Strategy::heap does not work, because no address leads back
  /// to such a stack; boost::context::fixedsize_stack does the same as that strategy.
  explicit stack_allocator(StackOptions options)
      : options_(std::make_shared<const StackOptions>(std::move(options))) {}

  /// Makes a stack. Attaches the calling thread. Throws std::system_error as Stack's constructor
  /// does. Any thread; not from a signal handler.
  [[nodiscard]] boost::context::stack_context allocate() const {
    return detail::as_context(detail::release(Stack(*options_)));
  }
  /// Releases a stack that allocate() made. Nothing may run there. Any thread; not from a signal
  /// handler.
  void deallocate(boost::context::stack_context& context) const noexcept {
    detail::end_released(context.sp);
  }

 private:
  std::shared_ptr<const StackOptions> options_;
};

/// Allocates stacks of a StackPool as a StackAllocator of Boost.Context. Copies share the pool,
/// which lives as long as the last copy. Stacks that are out then stay valid. Any thread may
/// allocate, and any thread may deallocate.
class pooled_stack_allocator {
 public:
  /// Boost's description of stacks in general.
  using traits_type = boost::context::stack_traits;

  /// Makes a pool of stacks of 8 MiB, of the strategy that is best here (Strategy::automatic).
  /// Throws what StackPool's constructor throws.
  pooled_stack_allocator() : pooled_stack_allocator(PoolOptions{.name = "fiber"}) {}
  /// Makes a pool of stacks of `reserve` bytes, of the strategy that is best here
  /// (Strategy::automatic). Throws what StackPool's constructor throws.
  explicit pooled_stack_allocator(std::size_t reserve)
      : pooled_stack_allocator(PoolOptions{.reserve = reserve, .name = "fiber"}) {}
  /// Makes a pool with these options. Throws what StackPool's constructor throws.
  explicit pooled_stack_allocator(const PoolOptions& options)
      : pool_(std::make_shared<StackPool>(options)) {}
  /// Shares a pool that exists already. It must not be null.
  explicit pooled_stack_allocator(std::shared_ptr<StackPool> pool) noexcept
      : pool_(std::move(pool)) {}

  /// Acquires a stack. Attaches the calling thread. Throws std::system_error as
  /// StackPool::acquire() does. Any thread; not from a signal handler.
  [[nodiscard]] boost::context::stack_context allocate() const {
    return detail::as_context(detail::acquire_released(*pool_));
  }
  /// Gives a stack that allocate() acquired back to the pool. Nothing may run there. Any thread;
  /// not from a signal handler.
  void deallocate(boost::context::stack_context& context) const noexcept {
    detail::end_released(context.sp);
  }

  /// Returns the pool, for its statistics(), trim() and so on.
  [[nodiscard]] StackPool& pool() const noexcept { return *pool_; }

 private:
  std::shared_ptr<StackPool> pool_;
};

}  // namespace growstack
