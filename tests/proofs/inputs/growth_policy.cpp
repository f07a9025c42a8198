// grown_limit() and kept_limit() against the sentences of their header, in 128 bits and without
// rounding: no sum can overflow there.
#include "input.hpp"

#include <growstack/growth_policy.hpp>

#include <algorithm>
#include <bit>

namespace growstack::inputs {
namespace {

__extension__ using Wide = __int128;

constexpr std::uint64_t huge_page = std::uint64_t{1} << 21;
constexpr std::uint64_t most_bytes = std::uint64_t{1} << 46;  // validated options have no more

Wide down_to_multiple(Wide number, Wide unit) { return number - ((number % unit) + unit) % unit; }

/// A policy as the model has it: exact numbers.
struct Policy {
  GrowthPolicy value;
  Wide sixteenths = 0;  ///< the factor; 0: it is no such number
};

Policy any_policy(Input& input, std::size_t page) {
  Policy policy;
  policy.value = {.initial_commit = input.magnitude(0, most_bytes),
                  .factor = 0,
                  .least_step = input.magnitude(0, most_bytes),
                  .largest_step = input.magnitude(0, most_bytes),
                  .headroom = input.magnitude(0, most_bytes),
                  .huge_from = input.from(0, huge_page / page) * page};
  if (input.flag()) {
    policy.sixteenths = static_cast<Wide>(input.from(16, 256));
    policy.value.factor = static_cast<double>(policy.sixteenths) / 16;
  } else {
    policy.value.factor = std::bit_cast<double>(input.bytes());
  }
  return policy;
}

/// Where a stack lies.
struct Place {
  std::size_t page;
  std::uintptr_t floor;
  std::uintptr_t base;
};

Place any_place(Input& input) {
  Place place{};
  place.page = input.one_of<std::size_t>({4096, 16384, 65536});
  place.floor = input.magnitude(0, (std::uint64_t{1} << 47) / place.page) * place.page;
  place.base = place.floor + input.magnitude(1, most_bytes / place.page) * place.page;
  return place;
}

/// Deeper than huge_from there are whole huge pages, unless the floor is nearer.
Wide in_huge_pages(const Policy& policy, const Place& place, Wide lowest) {
  const Wide begin_of_huge = Wide{place.base} - policy.value.huge_from;
  if (policy.value.huge_from != 0 && lowest < begin_of_huge) {
    lowest = begin_of_huge - down_to_multiple(begin_of_huge - lowest + huge_page - 1, huge_page);
  }
  return std::max(lowest, Wide{place.floor});
}

Wide down_to_page(const Place& place, Wide lowest) {
  return down_to_multiple(std::max(lowest, Wide{place.floor}), place.page);
}

void try_growth(Input& input) {
  const Place place = any_place(input);
  const Policy policy = any_policy(input, place.page);
  const std::uintptr_t pages = (place.base - place.floor) / place.page;
  const std::uintptr_t limit = place.floor + input.magnitude(1, pages) * place.page;
  const std::uintptr_t address = limit - input.magnitude(1, limit - place.floor);
  const std::uintptr_t grown =
      grown_limit(policy.value, place.base, place.floor, limit, address, place.page);

  require(grown >= place.floor, "the new limit is never below the floor");
  require(grown <= address, "the new limit is at most the address");
  require(grown % place.page == 0, "the new limit is page aligned");
  const Wide needed = down_to_multiple(address, place.page) - Wide{policy.value.headroom};
  require(grown <= std::max(needed, Wide{place.floor}), "the headroom is committed");
  require(grown <= std::max(Wide{limit} - policy.value.least_step, Wide{place.floor}),
          "a fault commits the least step at least");
  if (policy.sixteenths != 0) {
    const Wide least = policy.value.least_step;
    const Wide most = std::max<Wide>(least, policy.value.largest_step);
    const Wide more = Wide{place.base - limit} * (policy.sixteenths - 16) / 16;
    const Wide wished = Wide{limit} - std::clamp(more, least, most);
    const Wide lowest = down_to_page(place, std::min(needed, wished));
    require_equal(grown, static_cast<std::uint64_t>(in_huge_pages(policy, place, lowest)),
                  "the new limit is that of the policy");
  }
}

void try_trim(Input& input) {
  const Place place = any_place(input);
  const Policy policy = any_policy(input, place.page);
  const std::uintptr_t stack_pointer = place.base - input.magnitude(0, place.base - place.floor);
  const std::size_t margin = input.magnitude(0, most_bytes);
  const Wide in_use = place.base - stack_pointer;
  const Wide kept = std::max<Wide>(margin, in_use + policy.value.initial_commit);
  const Wide lowest = down_to_page(place, Wide{stack_pointer} - kept);
  require_equal(
      kept_limit(policy.value, place.base, place.floor, stack_pointer, margin, place.page),
      static_cast<std::uint64_t>(in_huge_pages(policy, place, lowest)),
      "a trim keeps as much again as is in use, the initial commit, and the margin");
}

/// Touches of one stack, each deeper than what is committed, and the bounds that GrowthPolicy
/// promises for its defaults, and for its defaults with userfaultfd.
void try_bound(Input& input) {
  constexpr std::size_t page = 4096;
  const bool is_filled = input.flag();
  const GrowthPolicy policy =
      is_filled ? GrowthPolicy{.factor = 2, .huge_from = 0} : GrowthPolicy{};
  const std::uintptr_t base = std::uint64_t{1} << 46;
  const std::uintptr_t floor = base - (std::uint64_t{1} << 36);
  std::uintptr_t limit = base - policy.initial_commit;
  for (int touches = 0; touches < 8 && limit > floor; ++touches) {
    const std::uintptr_t address = limit - input.magnitude(1, limit - floor);
    limit = grown_limit(policy, base, floor, limit, address, page);
    const std::size_t depth = base - address;
    std::size_t most = std::size_t{64} * 1024 + (is_filled ? 2 : 4) * depth;
    if (!is_filled && most > policy.huge_from) {  // which is a whole huge page
      most += (huge_page - most % huge_page) % huge_page;
    }
    require(base - limit <= most, "a stack of depth d has at most 64 KiB + 4 d committed");
  }
}

}  // namespace

void try_input(Input& input) {
  switch (input.from(0, 2)) {
    case 0:
      return try_growth(input);
    case 1:
      return try_trim(input);
    default:
      return try_bound(input);
  }
}

}  // namespace growstack::inputs
