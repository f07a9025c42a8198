// Workers of Boost.Fiber on growable stacks. Any worker may resume a fiber, so each worker must be
// attached.
//
//     boost::fibers::use_scheduling_algorithm<growstack::attached<boost::fibers::algo::work_stealing>>(4);
//     boost::fibers::fiber(std::allocator_arg, growstack::pooled_stack_allocator(), [] {}).join();
//
// Header-only; link Boost.Fiber (the CMake target growstack::boost_fiber does).
#pragma once

#include <growstack/attach.hpp>
#include <growstack/export.hpp>
#include <growstack/stack_allocator.hpp>

#include <boost/fiber/algo/algorithm.hpp>

#include <type_traits>
#include <utility>

namespace growstack {

namespace detail {

/// The first base of `attached`, so that the thread is attached before the constructor of the
/// algorithm runs, which may wait until all workers are there.
struct AttachesFirst {
  GROWSTACK_LOCAL AttachesFirst() { attach_thread(); }
};

}  // namespace detail

/// Attaches the thread that a scheduling algorithm of Boost.Fiber schedules, and is otherwise that
/// algorithm. The thread is the one that constructs it, in
/// boost::fibers::use_scheduling_algorithm().
template <class Algorithm>
class attached : private detail::AttachesFirst, public Algorithm {
  static_assert(std::is_base_of_v<boost::fibers::algo::algorithm, Algorithm>);

 public:
  /// Attaches the calling thread, then constructs the algorithm from `args`. Throws
  /// std::system_error if the thread cannot be attached, and what the algorithm throws.
  template <class... Args>
  requires std::is_constructible_v<Algorithm, Args...>
  explicit attached(Args&&... args) : Algorithm(std::forward<Args>(args)...) {}
};

}  // namespace growstack
