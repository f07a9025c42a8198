// Growable stacks for Boost.Context, Boost.Coroutine2 and Boost.Fiber.
//
//     using boost::context::fiber;
//     fiber there(std::allocator_arg, growstack::stack_allocator(), [](fiber&& back) { return
//     std::move(back); });
//
//     using Numbers = boost::coroutines2::coroutine<int>;
//     Numbers::pull_type numbers(growstack::pooled_stack_allocator(), [](Numbers::push_type& yield)
//     { yield(1); });
//
//     growstack::pooled_stack_allocator stacks;
//     boost::fibers::fiber(std::allocator_arg, stacks, [] {}).join();
//
// Both attach the thread that allocates. A thread that only resumes what others made must be
// attached, too: attach_thread() in growstack/attach.hpp, growstack/boost_fiber.hpp for the workers
// of Boost.Fiber, or the library growstack::attach_all.
//
// Header-only, so that the library itself needs no more of Boost than it does.
#pragma once

#include <growstack/stack.hpp>
#include <growstack/stack_pool.hpp>

#include <boost/context/stack_context.hpp>
#include <boost/context/stack_traits.hpp>

#include <cstddef>
#include <memory>
#include <utility>

namespace growstack {

namespace detail {

// Hidden: see Stack's destructor.
[[gnu::visibility("hidden")]] inline boost::context::stack_context hand_over(Stack stack) {
  boost::context::stack_context context;
  context.size = stack.reserved();
  context.sp = stack.base();
  stack.release();
  return context;
}

/// Ends in std::terminate() for what is no stack of ours: somebody's memory was overwritten.
[[gnu::visibility("hidden")]] inline void take_back(
    const boost::context::stack_context& context) noexcept {
  static_cast<void>(Stack::adopt(static_cast<const std::byte*>(context.sp) - 1));
}

}  // namespace detail

/// A StackAllocator of Boost.Context: each stack is made for itself, and its address space released
/// with it. For stacks that are few, or of different kinds; pooled_stack_allocator is a hundred
/// times as fast. Copies have the same options. Any thread may allocate, and any may deallocate.
class stack_allocator {
 public:
  /// What Boost asks of stacks in general.
  using traits_type = boost::context::stack_traits;

  /// 8 MiB, as the kernel finds best here (Strategy::automatic), and no more committed at first
  /// than the stacks of a pool.
  stack_allocator() : stack_allocator(PoolOptions().reserve) {}
  /// The same, of that many bytes.
  explicit stack_allocator(std::size_t reserve)
      : stack_allocator(StackOptions{.reserve = reserve,
                                     .policy = GrowthPolicy::pooled(),
                                     .strategy = Strategy::automatic,
                                     .name = "fiber"}) {}
  /// Any strategy but heap, from whose addresses nothing leads back to a stack:
  /// boost::context::fixedsize_stack is that.
  explicit stack_allocator(StackOptions options)
      : options_(std::make_shared<const StackOptions>(std::move(options))) {}

  /// Throws std::system_error as Stack's constructor does.
  [[nodiscard]] boost::context::stack_context allocate() const {
    return detail::hand_over(Stack(*options_));
  }
  /// Ends what allocate() began; nothing may run there.
  void deallocate(boost::context::stack_context& context) const noexcept {
    detail::take_back(context);
  }

 private:
  std::shared_ptr<const StackOptions> options_;
};

/// A StackAllocator of Boost.Context: stacks of a StackPool. Copies share the pool, which lives as
/// long as the last of them or of its stacks. Any thread may allocate, and any may deallocate.
class pooled_stack_allocator {
 public:
  /// What Boost asks of stacks in general.
  using traits_type = boost::context::stack_traits;

  /// A pool of its own: 8 MiB each, Strategy::automatic. Throws what StackPool's constructor
  /// throws.
  pooled_stack_allocator() : pooled_stack_allocator(PoolOptions{.name = "fiber"}) {}
  /// The same, of that many bytes.
  explicit pooled_stack_allocator(std::size_t reserve)
      : pooled_stack_allocator(PoolOptions{.reserve = reserve, .name = "fiber"}) {}
  /// A pool of its own with these options.
  explicit pooled_stack_allocator(const PoolOptions& options)
      : pool_(std::make_shared<StackPool>(options)) {}
  /// Stacks of a pool that is there already. Not null.
  explicit pooled_stack_allocator(std::shared_ptr<StackPool> pool) noexcept
      : pool_(std::move(pool)) {}

  /// Throws std::system_error as StackPool::acquire() does.
  [[nodiscard]] boost::context::stack_context allocate() const {
    return detail::hand_over(pool_->acquire());
  }
  /// Ends what allocate() began; nothing may run there.
  void deallocate(boost::context::stack_context& context) const noexcept {
    detail::take_back(context);
  }

  /// For statistics(), trim() and the like.
  [[nodiscard]] StackPool& pool() const noexcept { return *pool_; }

 private:
  std::shared_ptr<StackPool> pool_;
};

}  // namespace growstack
