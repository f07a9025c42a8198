// AddressSet against one bit for each address.
#include "input.hpp"

#include "process/address_set.hpp"

#include <bitset>

namespace growstack::inputs {

void try_input(Input& input) {
  constexpr std::size_t addresses = 256;
  // At the lower end of the address space, somewhere, and at the upper end.
  const std::uintptr_t first =
      input.one_of<std::uintptr_t>({0, std::uintptr_t{1} << 46, UINTPTR_MAX - addresses});
  handler::AddressSet found;
  std::bitset<addresses> expected;
  while (!input.is_over()) {
    const std::size_t begin = input.from(0, addresses - 1);
    const std::size_t end = input.from(begin, addresses - 1);
    bool is_new = begin < end;
    for (std::size_t at = begin; at < end; ++at) {
      is_new = is_new && !expected[at];
    }
    // add() may be asked only for addresses of which none is there.
    const bool adds = is_new && input.flag();
    if (adds) {
      found.add({first + begin, first + end});
    } else {
      found.remove({first + begin, first + end});
    }
    for (std::size_t at = begin; at < end; ++at) {
      expected[at] = adds;
    }

    std::bitset<addresses> shown;
    std::uintptr_t last_end = 0;
    bool is_first = true;
    for (const handler::AddressInterval& each : found.all()) {
      require(each.begin < each.end, "no interval is empty");
      require(is_first || last_end < each.begin, "intervals ascend and lie apart");
      is_first = false;
      last_end = each.end;
      for (std::uintptr_t at = each.begin; at < each.end; ++at) {
        shown[at - first] = true;
      }
    }
    require(shown == expected, "the set has what was added and not removed");
  }
}

}  // namespace growstack::inputs
