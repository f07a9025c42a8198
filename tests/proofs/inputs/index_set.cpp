// IndexSet against std::set.
#include "input.hpp"

#include "memory/index_set.hpp"

#include <set>

namespace growstack::inputs {

void try_input(Input& input) {
  // Around the capacities at which a word, and a level, more is needed.
  const auto capacity =
      static_cast<std::uint32_t>(input.one_of<std::uint64_t>({1, 63, 64, 65, 4095, 4096, 4097}) +
                                 (input.flag() ? input.from(0, 300) : 0));
  IndexSet found(capacity);
  std::set<std::uint32_t> expected;
  while (!input.is_over()) {
    const auto index = static_cast<std::uint32_t>(input.from(0, capacity - 1));
    require(found.contains(index) == expected.contains(index), "members are members");
    if (expected.contains(index)) {
      const std::uint32_t most = static_cast<std::uint32_t>(input.from(1, 100));
      std::uint32_t first = index;
      for (std::uint32_t count = 1; count < most && expected.contains(first - 1); ++count) {
        --first;
      }
      require_equal(found.first_in_row(index, most), first, "a row is made of all its members");
      found.erase(index);
      expected.erase(index);
    } else {
      found.insert(index);
      expected.insert(index);
    }
    require_equal(found.size(), expected.size(), "each member counts once");
    require(found.empty() == expected.empty(), "empty is without a member");
    if (!expected.empty()) {
      require_equal(found.least(), *expected.begin(), "the least is the least");
      require_equal(found.greatest(), *expected.rbegin(), "the greatest is the greatest");
    }
  }
}

}  // namespace growstack::inputs
