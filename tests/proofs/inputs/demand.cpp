// Demand against a model that goes through time interval by interval.
#include "input.hpp"

#include "pool/demand.hpp"

namespace growstack::inputs {
namespace {

using Time = Demand::Time;

constexpr Time::rep year = Time::rep{365} * 24 * 3600 * 1'000'000'000;

struct Model {
  Time::rep retention;
  Time::rep next_halving = 0;
  std::size_t target = 0;

  void fall(Time::rep now, std::size_t in_use) {
    if (retention != 0 && now >= next_halving) {
      for (Time::rep at = next_halving; at <= now && target > 0; at += retention) {
        target /= 2;
      }
      next_halving = now + retention;
    }
    rise(in_use);
  }
  void rise(std::size_t in_use) { target = target < in_use ? in_use : target; }
};

}  // namespace

void try_input(Input& input) {
  const auto retention = static_cast<Time::rep>(input.magnitude(0, year));
  auto now = static_cast<Time::rep>(input.magnitude(0, 100 * year));
  std::size_t in_use = input.magnitude(0, UINT64_MAX);
  Demand found{Time(retention)};
  Model model{.retention = retention, .next_halving = now + retention, .target = in_use};
  found.begin(Time(now), in_use);
  while (!input.is_over()) {
    switch (input.from(0, 4)) {
      case 0:
        found.rise(in_use);
        model.rise(in_use);
        break;
      case 1:
        found.forget(in_use);
        model.target = in_use;
        break;
      case 2:
        in_use = input.magnitude(0, UINT64_MAX);
        break;
      case 3:
        now += static_cast<Time::rep>(input.magnitude(0, year));
        break;
      default:
        found.fall(Time(now), in_use);
        model.fall(now, in_use);
    }
    require_equal(found.target(), model.target, "the target rises at once and falls by halves");
    const std::size_t warm = input.magnitude(0, UINT64_MAX - in_use);
    __extension__ using Wide = __int128;
    const Wide too_many = Wide{in_use} + warm - model.target;
    require_equal(found.excess(in_use, warm),
                  too_many <= 0      ? 0
                  : too_many >= warm ? warm
                                     : static_cast<std::uint64_t>(too_many),
                  "what exceeds the target is too much, but only warm stacks can go");
    const bool has_more = input.flag();
    require(found.next_look(has_more).count() == (retention == 0 ? Time::max().count()
                                                  : has_more     ? 0
                                                                 : model.next_halving),
            "the next look is at once, at the next halving, or never");
  }
}

}  // namespace growstack::inputs
