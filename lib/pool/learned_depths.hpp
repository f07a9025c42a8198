// How deep the stacks of each name of a pool are kept, and how deep they went.
//
// A stack that comes back keeps at most the usual depth of its name, or that of the pool's own name
// if that is deeper. What this asks of whom:
//
//     UsualDepth     the arithmetic, for each name
//     KeptDepths     what it led to, for all threads and for the fault path
//     NameTally      what each thread counted
#pragma once

#include "arenas/kept_depths.hpp"
#include "pool/names.hpp"
#include "pool/thread_cache.hpp"
#include "pool/usual_depth.hpp"

#include <growstack/stack_pool.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace growstack {

class LearnedDepths {
 public:
  using Time = std::chrono::nanoseconds;

  struct Settings {
    std::size_t warm = 0;       ///< bytes to which each stack is kept at least
    std::size_t most = 0;       ///< and at most
    std::size_t huge_from = 0;  ///< the depth beyond which only whole huge pages are kept; 0: none
    bool learns = false;        ///< otherwise all stacks are kept to `warm`
    Time retention{};           ///< 0: there are no samples, so no depth falls
  };

  /// The names and the caches must outlive this object.
  LearnedDepths(const PoolNames& names, const std::vector<ThreadCache*>& caches) noexcept
      : names_(names), caches_(caches) {}

  /// Begins. No stack exists yet.
  void begin(const Settings& settings, Time now) noexcept;

  // Any thread, without the lock:

  [[nodiscard]] const KeptDepths& kept() const noexcept { return kept_; }
  [[nodiscard]] bool learns() const noexcept { return settings_.learns; }
  /// Returns whether stacks of this name are kept deeper than those of the pool's own name. Then
  /// they are kept apart.
  [[nodiscard]] bool is_apart(std::size_t number) const noexcept {
    return number != 0 && kept_.of(number) > kept_.of(0);
  }
  /// Returns whether the next tenancy of this name shall be a sample. If so, the caller makes it
  /// one: everybody else is told no, for a while.
  [[nodiscard]] bool take_turn_to_sample(std::size_t number, Time now) noexcept;

  // Under the pool's lock:

  /// Learns from a tenancy that went beyond the depth to which its stack was kept, or was a sample.
  /// `own` is what the calling thread counts for that name.
  void learn(std::size_t number, std::size_t depth, bool was_sample, NameTally& own,
             Time now) noexcept;
  /// Ends an interval if it is time. Returns whether it was.
  bool follow(Time now) noexcept;
  /// Forgets all that was learned: the memory was given back.
  void forget() noexcept;
  /// Returns whether a depth fell since the last call: stacks may be kept deeper than they should.
  [[nodiscard]] bool take_fall() noexcept { return std::exchange(fell_, false); }
  /// Returns the greatest depth to which stacks are kept, in bytes.
  [[nodiscard]] std::size_t greatest() const noexcept;
  /// Returns how deep the tenancies of a name went. The depth of quiet ones is not known: they are
  /// divided as the samples are.
  [[nodiscard]] HighWaterDistribution high_water(std::size_t number) const;

 private:
  /// What is known of a name.
  struct Learned {
    UsualDepth depth;
    /// Quiet tenancies that were divided already, because the samples that tell their depth are
    /// about to go, or because stacks are about to be kept to another depth.
    UsualDepth::Counts divided{};
    std::uint64_t divided_in_all = 0;
  };

  void make_room_for(std::size_t names) noexcept;
  [[nodiscard]] std::size_t kept_by(std::size_t exponent) const noexcept;
  void gather(std::size_t number, UsualDepth& depth) const noexcept;
  [[nodiscard]] UsualDepth::Counts divide(std::size_t number, const Learned& known) const noexcept;
  void settle(std::size_t number, Learned& known) noexcept;
  void publish() noexcept;

  const PoolNames& names_;
  const std::vector<ThreadCache*>& caches_;
  Settings settings_;
  Time interval_{};
  Time next_interval_{};
  std::vector<Learned> all_;  ///< by number; names that were never measured are missing
  bool fell_ = false;
  KeptDepths kept_;
  /// When the next sample of each name is due. Whoever takes it moves it on.
  std::array<std::atomic<Time::rep>, KeptDepths::names> next_sample_{};
};

}  // namespace growstack
