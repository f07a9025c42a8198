// The stacks that a program tells (KnownStack) against a list of them.
#include "input.hpp"

#include "memory/last_stacks.hpp"

#include <growstack/current_stack.hpp>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <system_error>
#include <vector>

namespace growstack::inputs {
namespace {

__extension__ using Wide = unsigned __int128;

struct Extents {
  std::vector<StackExtent> all{};

  ~Extents() {
    for (const StackExtent& each : all) {
      detail::take_stack_back(each.low);
    }
  }

  void tell(std::uintptr_t low, std::size_t size) {
    const Wide end = Wide{low} + size;
    const bool is_empty = low == 0 || size == 0 || end > UINTPTR_MAX;
    const bool overlaps = std::any_of(all.begin(), all.end(), [&](const StackExtent& each) {
      return low < each.high && each.low < end;
    });
    int error = 0;
    try {
      detail::tell_stack(low, size);
      all.push_back({.low = low, .high = low + size});
    } catch (const std::system_error& thrown) {
      error = thrown.code().value();
    }
    require_equal(static_cast<std::uint64_t>(error),
                  is_empty   ? EINVAL
                  : overlaps ? EEXIST
                             : 0,
                  "a told stack has bytes of its own");
  }
};

}  // namespace

void try_input(Input& input) {
  Extents told;
  const auto address = [&] {
    std::uintptr_t near = input.one_of<std::uintptr_t>({0, std::uintptr_t{1} << 40, UINTPTR_MAX});
    if (!told.all.empty() && input.flag()) {
      const StackExtent& each = told.all[input.from(0, told.all.size() - 1)];
      near = input.flag() ? each.low : each.high;
    }
    const std::uint64_t away = input.magnitude(0, 1 << 20);
    return input.flag() ? near + away : near - away;
  };
  while (!input.is_over()) {
    const std::uint64_t step = input.from(0, 5);
    if (step <= 1 && told.all.size() < 8) {
      const std::uintptr_t low = address();
      told.tell(low, input.magnitude(0, UINT64_MAX));
    } else if (step == 2 && !told.all.empty()) {
      const std::size_t index = input.from(0, told.all.size() - 1);
      detail::take_stack_back(told.all[index].low);
      told.all.erase(told.all.begin() + static_cast<std::ptrdiff_t>(index));
    } else {
      const std::uintptr_t at = address();
      const auto there = std::find_if(told.all.begin(), told.all.end(),
                                      [&](const StackExtent& each) { return each.contains(at); });
      const std::optional<StackExtent> found = told_stack_at(at);
      require(found.has_value() == (there != told.all.end()) &&
                  (!found || (found->low == there->low && found->high == there->high)),
              "an address leads to the told stack that has it");
      if (!found) {  // the part of another stack around the address
        StackExtent outer{.low = at - std::min<std::uintptr_t>(at, input.magnitude(0, UINT64_MAX)),
                          .high = at + input.magnitude(0, UINTPTR_MAX - at)};
        const StackExtent part = without_told_stacks(outer, at);
        for (const StackExtent& each : told.all) {
          if (each.low > at) {
            outer.high = std::min(outer.high, each.low);
          } else {
            outer.low = std::max(outer.low, each.high);
          }
        }
        require(part.low == outer.low && part.high == outer.high,
                "the outer stack ends where told ones begin");
      }
    }
  }
}

}  // namespace growstack::inputs
