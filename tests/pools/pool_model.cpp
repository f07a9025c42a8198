// Pools against a model: random sequences of everything that can be done to a pool and its stacks,
// by one thread and by several. The model knows which stacks are in use, where they lie, and what
// was written to them. No two may ever overlap, and only its owner may change a stack. A failure
// tells the seed that leads to it again.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/stack_pool.hpp>

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/pools.hpp"
#include "support/sanitized.hpp"
#include "support/units.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

/// Words are written at multiples of this below the base, and stack pointers stop half way between
/// them, so that the frames of calls and jumps do not come near.
constexpr std::size_t stride = 16 * KiB;

/// The depth of a word that is there as long as nothing runs on the stack.
constexpr std::size_t in_the_warm_part = warm_size - 64;

std::uint64_t pattern(std::uint64_t tenancy, std::uintptr_t address) {
  return (tenancy * 0x9E37'79B9'7F4A'7C15U) ^ (address * 0xC2B2'AE3D'27D4'EB4FU);
}

/// Keeps the first thing that went wrong.
class Verdict {
 public:
  void wrong(const std::string& what) {
    const std::lock_guard guard(lock_);
    if (first_.empty()) {
      first_ = what;
    }
  }
  [[nodiscard]] std::string first() const { return first_; }

 private:
  std::mutex lock_;
  std::string first_;
};

/// The places of the stacks that are in use, guards included.
class Territory {
 public:
  /// Adds a place. Returns false if it overlaps another one.
  bool enter(std::uintptr_t begin, std::uintptr_t end) {
    const std::lock_guard guard(lock_);
    const auto next = taken_.lower_bound(begin);
    const bool is_free = (next == taken_.end() || next->first >= end) &&
                         (next == taken_.begin() || std::prev(next)->second <= begin);
    return taken_.emplace(begin, end).second && is_free;
  }
  void leave(std::uintptr_t begin) {
    const std::lock_guard guard(lock_);
    taken_.erase(begin);
  }
  [[nodiscard]] std::size_t count() {
    const std::lock_guard guard(lock_);
    return taken_.size();
  }

 private:
  std::mutex lock_;
  std::map<std::uintptr_t, std::uintptr_t> taken_;
};

/// A stack in use, and all that its owner knows of it.
struct Tenancy {
  Stack stack;
  std::uint64_t number;
  std::vector<std::size_t> written{};  ///< depths

  [[nodiscard]] std::uintptr_t base() const { return address_of(stack.base()); }
  [[nodiscard]] volatile std::uint64_t& word(std::size_t depth) const {
    return *reinterpret_cast<volatile std::uint64_t*>(base() - depth);
  }
  void write(std::size_t depth) {
    word(depth) = pattern(number, base() - depth);
    written.push_back(depth);
  }
  [[nodiscard]] bool is_intact() const {
    return std::all_of(written.begin(), written.end(), [&](std::size_t depth) {
      return word(depth) == pattern(number, base() - depth);
    });
  }
  void forget_deeper_than(std::size_t most) {
    std::erase_if(written, [&](std::size_t depth) { return depth > most; });
  }
};

class World {
 public:
  World(const Traits& of, std::size_t most_stacks_of_each,
        const GrowthPolicy& policy = GrowthPolicy::pooled(), WarmSize warm_size = WarmSize::learned)
      : of_(of),
        warm_(policy.initial_commit),
        is_fixed_(warm_size == WarmSize::fixed),
        pool_({.reserve = of.locks_memory ? MiB : 8 * MiB,
               .policy = policy,
               .warm_size = warm_size,
               .strategy = of.strategy,
               .retention = std::chrono::milliseconds(1)}),
        most_(most_stacks_of_each) {}

  void act(unsigned seed, int steps) {
    std::mt19937 random(seed);
    std::vector<Tenancy> mine;
    for (int step = 0; step < steps; ++step) {
      one_step(random, mine);
    }
    while (!mine.empty()) {
      release(random, mine);
    }
  }

  /// Compares pool and model once nobody acts any more.
  void end() {
    passed_on_.clear_into(*this);
    const PoolStatistics figures = pool_.statistics();
    expect(figures.live == 0, "no stack is in use");
    expect(territory_.count() == 0, "the model agrees");
    expect(figures.high_water.count() == acquired_, "each tenancy is counted once");
    expect(figures.hits + figures.misses == acquired_, "each acquisition is a hit or a miss");
    std::uint64_t of_names = 0;
    for (const NamedHighWater& each : pool_.high_water_by_name()) {
      of_names += each.high_water.count();
    }
    expect(of_names == acquired_, "and each under one name");
    if (of_.limit_moves) {
      const std::size_t warm = (figures.cached + figures.cold) * warm_;
      expect(figures.committed == warm || (!is_fixed_ && figures.committed > warm),
             "idle stacks are warm, and those of a fixed size no more");
    }
    pool_.trim();
    const PoolStatistics trimmed = pool_.statistics();
    expect(stacks_of(trimmed) == 0 && trimmed.arenas == 0, "all of it goes in the end");
    expect(trimmed.committed == 0, "with what it had committed");
    expect(process_counters().committed == 0, "also for the process");
  }

  /// Compares pool and model while nobody acts.
  void compare(const std::vector<Tenancy>& all) {
    const PoolStatistics figures = pool_.statistics();
    expect(figures.live == all.size() + passed_on_.size(), "as many are in use as the model says");
    if (of_.limit_moves && passed_on_.size() == 0) {
      std::size_t committed = (figures.cached + figures.cold) * warm_;
      for (const Tenancy& each : all) {
        committed += each.stack.committed();
      }
      expect(figures.committed == committed || (!is_fixed_ && figures.committed > committed),
             "idle stacks have the warm size, or what they learned");
      expect(figures.committed == process_counters().committed,
             "what is committed is the sum over all stacks");
    }
  }

  void only_one_acts() { alone_ = true; }
  [[nodiscard]] std::string verdict() const { return verdict_.first(); }

 private:
  /// Stacks on their way from one thread to another.
  class PassedOn {
   public:
    void put(Tenancy&& tenancy) {
      const std::lock_guard guard(lock_);
      all_.push_back(std::move(tenancy));
    }
    std::optional<Tenancy> take() {
      const std::lock_guard guard(lock_);
      if (all_.empty()) {
        return std::nullopt;
      }
      std::optional<Tenancy> first(std::move(all_.front()));
      all_.pop_front();
      return first;
    }
    [[nodiscard]] std::size_t size() {
      const std::lock_guard guard(lock_);
      return all_.size();
    }
    void clear_into(World& world) {
      while (std::optional<Tenancy> each = take()) {
        world.end_of(std::move(*each));
      }
    }

   private:
    std::mutex lock_;
    std::deque<Tenancy> all_;
  };

  void expect(bool fulfilled, const std::string& what) {
    if (!fulfilled) {
      verdict_.wrong(what);
    }
  }

  void one_step(std::mt19937& random, std::vector<Tenancy>& mine) {
    const std::size_t dice = random() % 100;
    if (mine.empty() || (dice < 25 && mine.size() < most_)) {
      acquire(random, mine);
    } else if (dice < 45) {
      grow(random, pick(random, mine));
    } else if (dice < 50) {
      recurse(pick(random, mine));
    } else if (dice < 55) {
      trim(pick(random, mine));
    } else if (dice < 60) {
      trim_below(random, pick(random, mine));
    } else if (dice < 65) {
      trim_current(pick(random, mine));
    } else if (dice < 72) {
      pass_on(random, mine);
    } else if (dice < 97) {
      release(random, mine);
    } else if (dice < 98) {
      pool_.trim();
    } else {
      static_cast<void>(pool_.high_water_by_name());
      static_cast<void>(pool_.statistics());
      static_cast<void>(pool_.resident());
      static_cast<void>(process_counters());
    }
    if (alone_) {
      compare(mine);
    }
  }

  static Tenancy& pick(std::mt19937& random, std::vector<Tenancy>& mine) {
    return mine[random() % mine.size()];
  }

  void acquire(std::mt19937& random, std::vector<Tenancy>& mine) {
    const std::size_t dice = random() % 6;
    const std::string name = dice < 3 ? "pooled" : "name " + std::to_string(dice);
    Tenancy tenancy{dice < 3 ? pool_.acquire() : pool_.acquire(name), ++acquired_};
    const Stack& stack = tenancy.stack;
    const std::uintptr_t guard = address_of(stack.floor()) - PoolOptions{}.guard;
    expect(territory_.enter(guard, tenancy.base()), "it overlaps no other stack");
    expect(stack.name() == name, "it has the name that was asked for");
    expect(stack.counters().growth_faults == 0, "no fault was counted yet");
    if (of_.limit_moves) {
      expect(stack.committed() == warm_ || (!is_fixed_ && stack.committed() > warm_),
             "it is as small as a fresh one, or as deep as stacks are kept");
      expect(stack.high_water_mark() == stack.committed(), "and nobody has grown it");
    }
    thread_local Probe probe;
    expect(probe.guarded(stack), "it has a guard");
    if (of_.in_system_calls == InSystemCalls::refused) {
      const std::uintptr_t limit = address_of(stack.limit());
      expect(!probe.readable(limit - 1) && !probe.readable(limit - warm_),
             "below its limit there is nothing yet");
    }
    tenancy.write(in_the_warm_part);
    mine.push_back(std::move(tenancy));
  }

  void verify(const Tenancy& tenancy) {
    expect(tenancy.is_intact(), "what its owner wrote is still there");
  }

  void runs_on(Tenancy& tenancy) {
    verify(tenancy);
    std::erase(tenancy.written, in_the_warm_part);
  }

  void grow(std::mt19937& random, Tenancy& tenancy) {
    runs_on(tenancy);
    const std::size_t most = tenancy.stack.reserved() - 2 * stride;
    const std::size_t wished = (random() % 8 == 0 ? most : std::min(most, 20 * stride)) / stride;
    const std::size_t steps = 1 + random() % wished;
    const std::size_t depth = steps * stride + stride / 2;
    call(tenancy.stack, [&] {
      // guard_markers would not see a larger frame.
      const std::size_t first_step = (warm_ / stride + 1) * stride + stride / 2;
      touch_in_one_jump(tenancy.base() - std::min(depth, first_step));
      touch_in_one_jump(tenancy.base() - depth);
    });
    verify(tenancy);
    for (std::size_t step = 1; step <= steps; step += 1 + steps / 8) {
      tenancy.write(step * stride);
    }
  }

  void recurse(Tenancy& tenancy) {
    runs_on(tenancy);
    constexpr std::size_t depth = stride + stride / 2;
    expect(call(tenancy.stack, [] { return descend(depth); }) == 0, "frames are intact");
    std::erase_if(tenancy.written, [](std::size_t written) { return written < 3 * stride; });
    verify(tenancy);
  }

  void trim(Tenancy& tenancy) {
    verify(tenancy);
    const std::error_code error = tenancy.stack.trim();
    expect(!error || !of_.trims, "a trim succeeds");
    if (of_.limit_moves) {
      expect(tenancy.stack.committed() == warm_, "and leaves the warm size");
    }
    tenancy.written.clear();
  }

  void trim_below(std::mt19937& random, Tenancy& tenancy) {
    verify(tenancy);
    const std::size_t steps =
        random() % std::max<std::size_t>(1, tenancy.stack.committed() / stride);
    const std::size_t depth = steps * stride + stride / 2;
    if (depth >= tenancy.stack.committed()) {
      return;
    }
    const std::error_code error =
        tenancy.stack.trim_below(reinterpret_cast<const void*>(tenancy.base() - depth));
    expect(!error || !of_.trims, "a trim below a stack pointer succeeds: " + error.message());
    tenancy.forget_deeper_than(depth);
    verify(tenancy);
  }

  void trim_current(Tenancy& tenancy) {
    runs_on(tenancy);
    const std::error_code error = call(tenancy.stack, [] { return Stack::trim_current(); });
    expect(!error || !of_.trims, "the running stack can be trimmed");
    tenancy.forget_deeper_than(stride / 2);
  }

  void pass_on(std::mt19937& random, std::vector<Tenancy>& mine) {
    const std::size_t which = random() % mine.size();
    verify(mine[which]);
    passed_on_.put(std::move(mine[which]));
    mine.erase(mine.begin() + static_cast<std::ptrdiff_t>(which));
    if (std::optional<Tenancy> other = passed_on_.take()) {
      verify(*other);
      mine.push_back(std::move(*other));
    }
  }

  void release(std::mt19937& random, std::vector<Tenancy>& mine) {
    const std::size_t which = random() % mine.size();
    Tenancy tenancy = std::move(mine[which]);
    mine.erase(mine.begin() + static_cast<std::ptrdiff_t>(which));
    end_of(std::move(tenancy));
  }

  void end_of(Tenancy tenancy) {
    verify(tenancy);
    territory_.leave(address_of(tenancy.stack.floor()) - PoolOptions{}.guard);
  }

  const Traits& of_;
  std::size_t warm_;
  bool is_fixed_;
  StackPool pool_;
  std::size_t most_;
  bool alone_ = false;
  Verdict verdict_;
  Territory territory_;
  PassedOn passed_on_;
  std::atomic<std::uint64_t> acquired_{0};
};

constexpr int fewer = sanitized ? 4 : 1;

}  // namespace

EVERY_POOL("whatever one thread does, the pool is always as the model says") {
  for (unsigned seed = 1; seed <= 4; ++seed) {
    CAPTURE(seed);
    World world(Of::traits, Of::traits.locks_memory ? 5 : 40, GrowthPolicy::pooled(),
                seed % 2 == 0 ? WarmSize::fixed : WarmSize::learned);
    world.only_one_acts();
    world.act(seed, 1200 / fewer);
    world.end();
    CHECK(world.verdict() == "");
  }
}

EVERY_POOL(
    "several threads that also pass stacks on change no stack of another thread, and the sums are "
    "right in the end") {
  for (unsigned seed = 1; seed <= 2; ++seed) {
    CAPTURE(seed);
    World world(Of::traits, Of::traits.locks_memory ? 3 : 40, GrowthPolicy::pooled(),
                seed % 2 == 0 ? WarmSize::fixed : WarmSize::learned);
    std::vector<std::thread> threads;
    for (unsigned index = 0; index < 4; ++index) {
      threads.emplace_back([&, index] { world.act(100 * seed + index, 1500 / fewer); });
    }
    for (std::thread& each : threads) {
      each.join();
    }
    world.end();
    CHECK(world.verdict() == "");
  }
}

EVERY_POOL("threads that come and go, and have a few stacks for a while, leave none behind") {
  World world(Of::traits, Of::traits.locks_memory ? 2 : 10);
  for (unsigned generation = 0; generation < 10; ++generation) {
    std::vector<std::thread> threads;
    for (unsigned index = 0; index < 3; ++index) {
      threads.emplace_back(
          [&, generation, index] { world.act(1000 + 10 * generation + index, 120 / fewer); });
    }
    for (std::thread& each : threads) {
      each.join();
    }
  }
  world.end();
  CHECK(world.verdict() == "");
}

EVERY_POOL(
    "a pool with huge pages, and with steps as large as those of single stacks, is as the model "
    "says") {
  for (const GrowthPolicy& policy : {GrowthPolicy(), GrowthPolicy::throughput()}) {
    CAPTURE(policy.huge_from);
    World world(Of::traits, Of::traits.locks_memory ? 5 : 30, policy);
    world.only_one_acts();
    world.act(1, 600 / fewer);
    world.end();
    CHECK(world.verdict() == "");
  }
}
