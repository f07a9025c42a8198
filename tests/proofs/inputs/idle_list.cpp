// IdleList against a std::vector.
#include "input.hpp"

#include "pool/idle_list.hpp"

#include <array>
#include <vector>

namespace growstack::inputs {

void try_input(Input& input) {
  constexpr std::size_t most = 8;
  static std::array<handler::SlotRecord, 16> records;
  IdleList<most> found;
  std::vector<const handler::SlotRecord*> expected;
  const auto same = [](OpenSlot slot, const handler::SlotRecord* record) {
    return slot ? &slot.record() == record : record == nullptr;
  };
  while (!input.is_over()) {
    const OpenSlot any(&records[input.from(0, records.size() - 1)]);
    const std::uint64_t chosen = input.bytes(2);
    const auto is_chosen = [&](OpenSlot slot) {
      return (chosen >> (&slot.record() - records.data()) & 1U) != 0;
    };
    const std::uint64_t step = input.from(0, 4);
    if (step == 0 && expected.size() < most) {
      found.push(any);
      expected.push_back(&any.record());
    } else if (step == 1 && !expected.empty()) {
      require(same(found.pop(), expected.back()), "the last one in is the first one out");
      expected.pop_back();
    } else if (step == 2) {
      const bool takes = !expected.empty() && (chosen >> (expected.back() - records.data()) & 1U);
      require(same(found.pop_if(is_chosen), takes ? expected.back() : nullptr),
              "the last one is taken if it suits");
      if (takes) {
        expected.pop_back();
      }
    } else if (step == 3) {
      const bool allowed = input.flag();
      const bool fits = allowed && expected.size() < most;
      require(found.push_if(allowed, any) == fits, "a full list takes no more");
      if (fits) {
        expected.push_back(&any.record());
      }
    } else if (step == 4) {
      std::vector<const handler::SlotRecord*> looked_at;
      found.remove_if([&](OpenSlot slot) {
        looked_at.push_back(&slot.record());
        return is_chosen(slot);
      });
      require(looked_at == expected, "each one is looked at, the oldest first");
      std::erase_if(expected, [&](const handler::SlotRecord* record) {
        return (chosen >> (record - records.data()) & 1U) != 0;
      });
    }
    require_equal(found.count(), expected.size(), "none is lost");
    require(found.empty() == expected.empty() && found.full() == (expected.size() == most),
            "empty and full are what they say");
  }
  while (!expected.empty()) {
    require(same(found.pop(), expected.back()), "they come out in the order in which they went in");
    expected.pop_back();
  }
}

}  // namespace growstack::inputs
