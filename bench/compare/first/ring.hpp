// A load with stacks that stay for a while: each new stack takes the place of the oldest one.
#pragma once

#include "first/workload.hpp"
#include "subjects/fibers.hpp"

#include <growstack/stack_pool.hpp>

#include <boost/context/stack_context.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <random>
#include <utility>

namespace growstack::compare {

inline constexpr std::size_t live_stacks = 64;
inline constexpr std::size_t shallow = 4 * kibibyte;
inline constexpr std::size_t deep = mebibyte;

/// Which fibers of a block go deep: 5 of 500, drawn at random, the same in every run.
inline constexpr std::size_t block = 500;
inline std::array<bool, block> which_are_deep() {
  constexpr std::size_t deep_ones = 5;
  std::array<bool, block> which{};
  std::fill_n(which.begin(), deep_ones, true);
  std::shuffle(which.begin(), which.end(), std::mt19937());
  return which;
}

/// Acquires stacks from a StackPool.
class FromPool {
 public:
  FromPool(std::shared_ptr<StackPool> pool, bool deep_by_name)
      : pool_(std::move(pool)), deep_by_name_(deep_by_name) {}
  [[nodiscard]] Stack acquire(bool is_deep) const {
    return is_deep && deep_by_name_ ? pool_->acquire("deep") : pool_->acquire();
  }

 private:
  std::shared_ptr<StackPool> pool_;
  bool deep_by_name_;
};

/// A stack of Boost's pool, with an owner.
class BoostStack {
 public:
  explicit BoostStack(const BoostPool& pool) : pool_(pool), its_(pool_.allocate()) {}
  ~BoostStack() { pool_.deallocate(its_); }
  BoostStack(const BoostStack&) = delete;
  BoostStack& operator=(const BoostStack&) = delete;
  [[nodiscard]] void* base() const noexcept { return its_.sp; }
  [[nodiscard]] std::size_t reserved() const noexcept { return its_.size; }

 private:
  BoostPool pool_;
  boost::context::stack_context its_;
};

class FromBoost {
 public:
  [[nodiscard]] BoostStack acquire(bool) const { return BoostStack(pool_); }

 private:
  BoostPool pool_{first_reserve};
};

/// The stacks that live. A stack is given back before the next one is acquired.
template <class Source>
class Ring {
 public:
  explicit Ring(Source source) : source_(std::move(source)) {}

  /// Acquires a stack, runs a fiber there to its end, and keeps the stack.
  void run_one(bool is_deep) {
    auto& place = places_[next_];
    next_ = (next_ + 1) % live_stacks;
    place.reset();
    place.emplace(Acquire{source_, is_deep});
    place->is_deep = is_deep;
    run_fiber_on(place->stack.base(), place->stack.reserved(),
                 [depth = is_deep ? deep : shallow] { go_down(depth); });
  }

  /// Runs the fibers of a block; none of them deep unless `mixed`.
  void run_block(bool mixed) {
    static const std::array<bool, block> which = which_are_deep();
    for (const bool is_deep : which) {
      run_one(mixed && is_deep);
    }
  }

  [[nodiscard]] std::size_t deep_ones() const {
    return static_cast<std::size_t>(std::count_if(
        places_.begin(), places_.end(), [](const auto& place) { return place && place->is_deep; }));
  }

 private:
  struct Acquire {
    const Source& source;
    bool is_deep;
  };
  struct Place {
    explicit Place(Acquire how) : stack(how.source.acquire(how.is_deep)) {}
    decltype(std::declval<const Source&>().acquire(true)) stack;
    bool is_deep = false;
  };

  Source source_;
  std::array<std::optional<Place>, live_stacks> places_{};
  std::size_t next_ = 0;
};

}  // namespace growstack::compare
