#include "pool/learned_depths.hpp"

#include "memory/vm.hpp"

#include <algorithm>
#include <limits>
#include <new>

namespace growstack {
namespace {

/// A sample is trimmed and grows again, which may take half a millisecond. So there are this many
/// in an interval for each name, and no interval is shorter than this.
constexpr int samples_in_an_interval = 16;
constexpr std::chrono::milliseconds least_interval(100);

constexpr auto never = std::numeric_limits<LearnedDepths::Time::rep>::max();

}  // namespace

void LearnedDepths::begin(const Settings& settings, Time now) noexcept {
  settings_ = settings;
  interval_ = settings.retention == Time::zero()
                  ? Time::zero()
                  : std::max<Time>(settings.retention, least_interval);
  next_interval_ = now + interval_;
  for (auto& bytes : kept_.bytes) {
    bytes.store(settings.warm, std::memory_order_relaxed);
  }
  for (auto& due : next_sample_) {
    due.store(never, std::memory_order_relaxed);
  }
}

bool LearnedDepths::take_turn_to_sample(std::size_t number, Time now) noexcept {
  std::atomic<Time::rep>& due = next_sample_[number];
  Time::rep seen = due.load(std::memory_order_relaxed);
  return seen <= now.count() &&
         due.compare_exchange_strong(seen, (now + interval_ / samples_in_an_interval).count(),
                                     std::memory_order_relaxed);
}

// ---- learning -----------------------------------------------------------------------------------

void LearnedDepths::learn(std::size_t number, std::size_t depth, bool was_sample, NameTally& own,
                          Time now) noexcept {
  if (!settings_.learns) {
    return;
  }
  make_room_for(names_.count());
  if (number >= all_.size()) {
    return;
  }
  Learned& known = all_[number];
  const std::size_t before = known.depth.usual();
  known.depth.count_stayed(own.take_news());
  if (depth > kept_.of(number)) {
    known.depth.count_beyond(exponent_of(depth));
  } else {
    known.depth.count_stayed(1);
  }
  if (was_sample) {
    known.depth.count_sample(exponent_of(depth));
    known.depth.follow_samples();
    if (!known.depth.knows_enough() && next_sample_[number] != never) {
      next_sample_[number].store(now.count(), std::memory_order_relaxed);
    }
  }
  if (known.depth.wants_to_rise()) {
    gather(number, known.depth);  // what other threads counted may tell otherwise
    if (known.depth.wants_to_rise()) {
      settle(number, known);
      known.depth.rise();
    }
  }
  if (known.depth.usual() != before) {
    publish();
  }
}

bool LearnedDepths::follow(Time now) noexcept {
  if (interval_ == Time::zero() || now < next_interval_) {
    return false;
  }
  next_interval_ = now + interval_;
  for (std::size_t number = 0; number < all_.size(); ++number) {
    gather(number, all_[number].depth);
    settle(number, all_[number]);
    all_[number].depth.end_interval();
  }
  publish();
  return true;
}

void LearnedDepths::forget() noexcept {
  for (std::size_t number = 0; number < all_.size(); ++number) {
    gather(number, all_[number].depth);
    settle(number, all_[number]);
    all_[number].depth.forget();
  }
  publish();
}

/// If there is no memory, nothing is learned of further names.
void LearnedDepths::make_room_for(std::size_t names) noexcept {
  try {
    while (all_.size() < names) {
      all_.push_back({.depth = UsualDepth(exponent_of(settings_.warm))});
    }
  } catch (const std::bad_alloc&) {
  }
}

/// Takes in what all threads counted since they were asked last.
void LearnedDepths::gather(std::size_t number, UsualDepth& depth) const noexcept {
  names_.visit(number, caches_, [&](NameTally& tally) { depth.count_stayed(tally.take_news()); });
}

std::size_t LearnedDepths::kept_by(std::size_t exponent) const noexcept {
  if (exponent == exponent_of(settings_.warm)) {
    return settings_.warm;
  }
  const std::size_t wished = std::size_t{1} << exponent;
  const std::size_t huge_from = settings_.huge_from;
  return std::clamp(huge_from == 0 || wished <= huge_from
                        ? wished
                        : huge_from + vm::round_up(wished - huge_from, vm::huge_page),
                    settings_.warm, settings_.most);
}

/// Publishes what the usual depths lead to.
void LearnedDepths::publish() noexcept {
  const std::size_t own = all_.empty() ? 0 : all_.front().depth.usual();
  for (std::size_t number = 0; number < KeptDepths::names; ++number) {
    const std::size_t usual =
        number < all_.size() ? std::max(own, all_[number].depth.usual()) : own;
    const std::size_t bytes = kept_by(usual);
    const std::size_t before = kept_.of(number);
    if (bytes == before) {
      continue;
    }
    if (number < all_.size()) {
      settle(number, all_[number]);
    }
    fell_ = fell_ || bytes < before;
    kept_.bytes[number].store(bytes, std::memory_order_relaxed);
    const bool is_sampled = bytes > settings_.warm && interval_ != Time::zero();
    next_sample_[number].store(!is_sampled      ? never
                               : bytes > before ? Time::rep{0}
                                                : next_sample_[number].load(),
                               std::memory_order_relaxed);
  }
}

std::size_t LearnedDepths::greatest() const noexcept {
  std::size_t greatest = kept_.of(0);
  for (std::size_t number = 1; number < all_.size(); ++number) {
    greatest = std::max(greatest, kept_.of(number));
  }
  return greatest;
}

// ---- how deep they went -------------------------------------------------------------------------

/// Divides the quiet tenancies of a name that were not divided yet. Without a sample, all count as
/// deep as their stacks may have been.
UsualDepth::Counts LearnedDepths::divide(std::size_t number, const Learned& known) const noexcept {
  std::uint64_t quiet = 0;
  names_.visit(number, caches_, [&](const NameTally& tally) { quiet += tally.quiet(); });
  const std::size_t bound = exponent_of(kept_.of(number));
  UsualDepth::Counts weights = known.depth.samples();
  std::fill(weights.begin() + static_cast<std::ptrdiff_t>(bound) + 1, weights.end(), 0);
  if (std::all_of(weights.begin(), weights.end(), [](std::uint64_t each) { return each == 0; })) {
    weights[bound] = 1;
  }
  return apportion(quiet - known.divided_in_all, weights);
}

void LearnedDepths::settle(std::size_t number, Learned& known) noexcept {
  const UsualDepth::Counts parts = divide(number, known);
  for (std::size_t depth = 0; depth < parts.size(); ++depth) {
    known.divided[depth] += parts[depth];
    known.divided_in_all += parts[depth];
  }
}

HighWaterDistribution LearnedDepths::high_water(std::size_t number) const {
  static_assert(std::tuple_size_v<decltype(HighWaterDistribution::stacks)> == UsualDepth::powers);
  const Learned known = number < all_.size()
                            ? all_[number]
                            : Learned{.depth = UsualDepth(exponent_of(settings_.warm))};
  HighWaterDistribution found;
  names_.visit(number, caches_, [&](const NameTally& tally) { found += tally.measured(); });
  const UsualDepth::Counts parts = divide(number, known);
  for (std::size_t depth = 0; depth < parts.size(); ++depth) {
    const std::uint64_t quiet = known.divided[depth] + parts[depth];
    found.stacks[depth] += quiet;
    if (quiet > 0) {
      found.deepest = std::max(found.deepest, settings_.warm);
    }
  }
  return found;
}

}  // namespace growstack
