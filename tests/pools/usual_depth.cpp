// The usual depth of the stacks of one name, as arithmetic: traces of tenancies, without a clock, a
// pool or a stack.
#include <doctest/doctest.h>

#include "pool/usual_depth.hpp"

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>

using growstack::apportion;
using growstack::UsualDepth;

namespace {

constexpr std::size_t warm = 13;
constexpr std::size_t deep = 20;

/// Lets a tenancy end as a pool would tell it: nobody knows how deep it went unless it went beyond
/// what is kept.
constexpr void end(UsualDepth& name, std::size_t depth) {
  if (depth > name.usual()) {
    name.count_beyond(depth);
    if (name.wants_to_rise()) {
      name.rise();
    }
  } else {
    name.count_stayed(1);
  }
}

constexpr void end_sample(UsualDepth& name, std::size_t depth) {
  end(name, depth);
  name.count_sample(depth);
  name.follow_samples();
}

/// Lets an interval pass in which each tenancy had that depth: many quiet ones, and 16 samples.
constexpr void pass_interval(UsualDepth& name, std::size_t depth) {
  for (int sample = 0; sample < 16; ++sample) {
    for (int tenancy = 0; tenancy < 1000; ++tenancy) {
      end(name, depth);
    }
    end_sample(name, depth);
  }
  name.end_interval();
}

UsualDepth after_a_deep_load() {
  UsualDepth name(warm);
  pass_interval(name, deep);
  pass_interval(name, deep);
  return name;
}

}  // namespace

TEST_CASE("the usual depth begins at the least, and eight deep tenancies let it rise at once") {
  UsualDepth name(warm);
  for (int tenancy = 0; tenancy < 7; ++tenancy) {
    end(name, deep);
    CHECK(name.usual() == warm);
  }
  end(name, deep);
  CHECK(name.usual() == deep);
}

TEST_CASE("a steady load keeps its depth from interval to interval") {
  UsualDepth name(warm);
  for (int interval = 0; interval < 100; ++interval) {
    pass_interval(name, 16);
    CHECK(name.usual() == 16);
  }
}

TEST_CASE("one deep tenancy in a hundred never lets it rise, wherever it stands") {
  for (int place = 0; place < 100; ++place) {
    UsualDepth name(warm);
    for (int tenancy = 0; tenancy < 10'000; ++tenancy) {
      end(name, tenancy % 100 == place ? deep : warm);
      REQUIRE(name.usual() == warm);
    }
  }
}

TEST_CASE("one in a hundred at random does not, and one in two does") {
  for (const unsigned one_in : {2U, 100U}) {
    std::mt19937 random(one_in);
    UsualDepth name(warm);
    for (int tenancy = 0; tenancy < 10'000; ++tenancy) {
      end(name, random() % one_in == 0 ? deep : warm);
    }
    CHECK(name.usual() == (one_in == 2 ? deep : warm));
  }
}

TEST_CASE("however long a load was shallow, it rises as fast as in the beginning") {
  UsualDepth name(warm);
  name.count_stayed(1'000'000'000);
  for (int tenancy = 0; tenancy < 8; ++tenancy) {
    end(name, deep);
  }
  CHECK(name.usual() == deep);
}

TEST_CASE("it rises to what seven of eight of the latest tenancies stayed within") {
  UsualDepth name(warm);
  for (int tenancy = 0; tenancy < 7; ++tenancy) {
    end(name, 16);
  }
  end(name, deep);
  CHECK(name.usual() == 16);
}

TEST_CASE("when a load becomes shallow, it falls within two intervals") {
  UsualDepth name = after_a_deep_load();
  CHECK(name.usual() == deep);
  pass_interval(name, warm);
  pass_interval(name, warm);
  CHECK(name.usual() == warm);
}

TEST_CASE("when half of the tenancies become shallow, it stays") {
  UsualDepth name = after_a_deep_load();
  for (int interval = 0; interval < 10; ++interval) {
    for (int sample = 0; sample < 16; ++sample) {
      end_sample(name, sample % 2 == 0 ? warm : deep);
    }
    name.end_interval();
    CHECK(name.usual() == deep);
  }
}

TEST_CASE("a load that oscillates from interval to interval keeps the greater depth") {
  UsualDepth name = after_a_deep_load();
  for (int interval = 0; interval < 20; ++interval) {
    pass_interval(name, interval % 2 == 0 ? warm : deep);
    CHECK(name.usual() == deep);
  }
}

TEST_CASE("few samples are no reason to fall at once") {
  UsualDepth name(warm);
  for (int tenancy = 0; tenancy < 8; ++tenancy) {
    end(name, deep);
  }
  for (int sample = 0; sample < 7; ++sample) {
    end_sample(name, warm);
    CHECK(name.usual() == deep);
  }
  end_sample(name, warm);
  CHECK(name.usual() == warm);
}

TEST_CASE("an interval with tenancies that ends with too few samples halves it") {
  UsualDepth name = after_a_deep_load();
  name.end_interval();  // the samples of the last one still tell
  CHECK(name.usual() == deep);
  for (std::size_t interval = 1; interval < 20; ++interval) {
    name.count_stayed(1);
    name.end_interval();
    CHECK(name.usual() == (interval < deep - warm ? deep - interval : warm));
  }
}

TEST_CASE("two intervals without any tenancy leave nothing of it") {
  UsualDepth name = after_a_deep_load();
  name.end_interval();
  CHECK(name.usual() == deep);
  name.end_interval();
  CHECK(name.usual() == warm);
}

TEST_CASE("a burst does not last: what it taught goes with the intervals") {
  UsualDepth name(warm);
  for (int tenancy = 0; tenancy < 1000; ++tenancy) {
    end(name, deep);
  }
  CHECK(name.usual() == deep);
  pass_interval(name, warm);
  CHECK(name.usual() == warm);
}

TEST_CASE("what was learned can be forgotten") {
  UsualDepth name = after_a_deep_load();
  name.forget();
  CHECK(name.usual() == warm);
  const UsualDepth::Counts samples = name.samples();
  CHECK(std::accumulate(samples.begin(), samples.end(), std::uint64_t{0}) == 0);
}

TEST_CASE("a number is divided in proportion, in whole parts whose sum it is") {
  UsualDepth::Counts weights{};
  weights[13] = 2;
  weights[16] = 1;
  UsualDepth::Counts parts = apportion(99, weights);
  CHECK(parts[13] == 66);
  CHECK(parts[16] == 33);
  parts = apportion(100, weights);
  CHECK(parts[13] == 67);
  CHECK(parts[16] == 33);
  CHECK(apportion(0, weights) == UsualDepth::Counts{});
  weights[20] = 1000;
  parts = apportion(UINT64_MAX, weights);
  CHECK(std::accumulate(parts.begin(), parts.end(), std::uint64_t{0}) == UINT64_MAX);
}
