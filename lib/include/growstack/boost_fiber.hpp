// Workers of Boost.Fiber on growable stacks: a fiber may be resumed by any of them, so each must be
// attached.
//
//     boost::fibers::use_scheduling_algorithm<growstack::attached<boost::fibers::algo::work_stealing>>(4);
//     boost::fibers::fiber(std::allocator_arg, growstack::pooled_stack_allocator(), [] {}).join();
//
// Header-only; link Boost.Fiber (the CMake target growstack::boost_fiber does).
#pragma once

#include <growstack/attach.hpp>
#include <growstack/stack_allocator.hpp>

#include <boost/fiber/algo/algorithm.hpp>

#include <type_traits>
#include <utility>

namespace growstack {

namespace detail {

/// A base before the algorithm, whose constructor may wait until all workers are there.
struct AttachesFirst {
  AttachesFirst() { attach_thread(); }
};

}  // namespace detail

/// A scheduling algorithm of Boost.Fiber that attaches the thread which it schedules: that is the
/// thread that constructs it, in boost::fibers::use_scheduling_algorithm. Takes what `Algorithm`
/// takes. The constructor throws std::system_error if the thread cannot be attached.
template <class Algorithm>
class attached : private detail::AttachesFirst, public Algorithm {
  static_assert(std::is_base_of_v<boost::fibers::algo::algorithm, Algorithm>);

 public:
  /// Attaches the calling thread, then makes the algorithm of these.
  template <class... Args>
  requires std::is_constructible_v<Algorithm, Args...>
  explicit attached(Args&&... args) : Algorithm(std::forward<Args>(args)...) {}
};

}  // namespace growstack
