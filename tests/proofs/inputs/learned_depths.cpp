// What a pool learns of the depths of its names, with the caches of two threads: no tenancy is lost
// from the statistics, and stacks are kept to what the usual depths say.
#include "input.hpp"

#include "pool/learned_depths.hpp"
#include "pool/names.hpp"
#include "pool/thread_cache.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

namespace growstack::inputs {
namespace {

using Time = LearnedDepths::Time;

constexpr std::size_t page = 4096;
constexpr std::size_t huge_page = std::size_t{2} << 20;

/// The name of that number, counted from the pool's own.
std::string name_of(std::size_t number) {
  return number == 0 ? "the pool's own" : "name " + std::to_string(number);
}

/// The least power of two that is not less: its exponent.
std::size_t power_of(std::size_t depth) {
  std::size_t power = 0;
  while ((std::size_t{1} << power) < depth) {
    ++power;
  }
  return power;
}

/// What is known to be true of a name.
struct Name {
  std::uint64_t tenancies = 0;
  std::array<std::uint64_t, 48> measured{};
  std::size_t deepest = 0;
};

struct Pool {
  PoolNames names{name_of(0)};
  std::vector<ThreadCache*> caches{};
  std::array<std::unique_ptr<ThreadCache>, 2> owned{};
  LearnedDepths depths{names, caches};
  LearnedDepths::Settings settings{};
  std::vector<Name> model{1};
  std::array<std::size_t, 5> kept_before{};  // one more than there are names
  bool fell = false;

  /// Notes what became of the depths, after each thing that may change them.
  void note_fall() {
    for (std::size_t number = 0; number < kept_before.size(); ++number) {
      const std::size_t now = depths.kept().of(number);
      fell = fell || now < kept_before[number];
      kept_before[number] = now;
    }
  }
  void begin_thread(std::size_t thread) {
    owned[thread] = std::make_unique<ThreadCache>(name_of(0));
    caches.push_back(owned[thread].get());
  }
  void end_thread(std::size_t thread) {
    names.merge(*owned[thread]);
    std::erase(caches, owned[thread].get());
    owned[thread].reset();
  }
};

/// The depths that a power of two may lead to.
bool may_be_kept(const LearnedDepths::Settings& settings, std::size_t bytes) {
  if (bytes == settings.warm || bytes == settings.most) {
    return true;
  }
  if (bytes < settings.warm || bytes > settings.most) {
    return false;
  }
  const bool is_power = (bytes & (bytes - 1)) == 0;
  const bool is_deep = settings.huge_from != 0 && bytes > settings.huge_from;
  return is_deep ? (bytes - settings.huge_from) % huge_page == 0 : is_power;
}

void check(Pool& pool) {
  const KeptDepths& kept = pool.depths.kept();
  std::size_t greatest = 0;
  for (std::size_t number = 0; number < pool.names.count(); ++number) {
    const std::size_t bytes = kept.of(number);
    greatest = std::max(greatest, bytes);
    require(may_be_kept(pool.settings, bytes),
            "a stack is kept to a power of two, or whole huge pages");
    require(bytes >= kept.of(0), "no name is kept to less than the pool's own");
    require(pool.depths.is_apart(number) == (bytes > kept.of(0)), "deeper ones are kept apart");
    require(pool.settings.learns || bytes == pool.settings.warm, "who learns nothing keeps little");

    const HighWaterDistribution found = pool.depths.high_water(number);
    const Name& name = pool.model[number];
    require_equal(std::accumulate(found.stacks.begin(), found.stacks.end(), std::uint64_t{0}),
                  name.tenancies, "each tenancy counts once");
    require(found.deepest >= name.deepest, "the deepest one is known");
    for (std::size_t power = 0; power < found.stacks.size(); ++power) {
      require(found.stacks[power] >= name.measured[power], "what was measured counts as it was");
    }
  }
  require_equal(pool.depths.greatest(), greatest, "the greatest depth is the greatest");
}

/// A tenancy ends, as PoolCore counts it: quiet, or measured, which also teaches.
void end_tenancy(Input& input, Pool& pool, Time now) {
  const std::size_t thread = input.from(0, 2);
  ThreadCache* const cache = thread < 2 ? pool.owned[thread].get() : nullptr;
  const std::size_t wished = input.from(0, 3);
  const std::size_t number = pool.names.number_of(wished == 0 ? "" : name_of(wished));
  if (number == pool.model.size()) {
    pool.model.emplace_back();
  }
  require(number < pool.model.size(), "names are numbered one after the other");
  require(number == 0 || pool.names.name(number) == name_of(wished), "a name keeps its number");
  NameTally& tally = pool.names.tally_of(cache, number);
  Name& name = pool.model[number];
  const std::size_t kept = pool.depths.kept().of(number);
  const bool was_sample = pool.depths.take_turn_to_sample(number, now);
  const std::size_t depth = std::max(page, input.magnitude(page, pool.settings.most) / page * page);
  const std::uint64_t times = input.from(1, 9);
  for (std::uint64_t count = 0; count < times; ++count) {
    ++name.tenancies;
    if (depth <= kept && !was_sample) {
      tally.count_quiet();
    } else {
      ++name.measured[power_of(depth)];
      name.deepest = std::max(name.deepest, depth);
      tally.count_measured(depth);
      pool.depths.learn(number, depth, was_sample, tally, now);
      pool.note_fall();
    }
  }
}

}  // namespace

void try_input(Input& input) {
  Pool pool;
  LearnedDepths::Settings& settings = pool.settings;
  settings.warm = input.from(1, 32) * page;
  settings.most = settings.warm + input.magnitude(0, std::size_t{1} << 18) * page;
  settings.huge_from = input.flag() ? input.from(32, 512) * page : 0;
  settings.learns = input.from(0, 15) != 0;
  settings.retention = Time(input.flag() ? 0 : 1'000'000'000);
  Time now(static_cast<Time::rep>(input.magnitude(0, std::uint64_t{1} << 50)));
  pool.depths.begin(settings, now);
  pool.note_fall();
  while (!input.is_over()) {
    switch (input.from(0, 7)) {
      case 0:
        now += Time(static_cast<Time::rep>(input.magnitude(0, 4'000'000'000)));
        break;
      case 1:
        static_cast<void>(pool.depths.follow(now));
        break;
      case 2:
        if (input.from(0, 7) == 0) {
          pool.depths.forget();
          require(pool.depths.greatest() == settings.warm, "what was learned is forgotten");
        }
        break;
      case 3: {
        const std::size_t thread = input.from(0, 1);
        pool.owned[thread] == nullptr ? pool.begin_thread(thread) : pool.end_thread(thread);
        break;
      }
      default:
        end_tenancy(input, pool, now);
    }
    pool.note_fall();
    if (input.from(0, 3) == 0) {
      require(pool.depths.take_fall() == pool.fell, "a fall is told once");
      pool.fell = false;
      check(pool);
    }
  }
  check(pool);
}

}  // namespace growstack::inputs
