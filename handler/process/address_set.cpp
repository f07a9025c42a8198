#include "process/address_set.hpp"

#include <algorithm>
#include <new>

namespace growstack::handler {

void AddressSet::add(AddressInterval added) {
  auto next = std::lower_bound(
      all_.begin(), all_.end(), added.begin,
      [](const AddressInterval& each, std::uintptr_t address) { return each.end < address; });
  if (next != all_.end() && next->begin <= added.end) {
    next->begin = std::min(next->begin, added.begin);
    next->end = std::max(next->end, added.end);
    const auto after = next + 1;
    if (after != all_.end() && after->begin <= next->end) {
      next->end = after->end;
      all_.erase(after);
    }
  } else {
    all_.insert(next, added);
  }
}

void AddressSet::remove(AddressInterval removed) noexcept {
  if (removed.begin == removed.end) {
    return;  // in the middle of an interval, it would split that
  }
  for (auto each = all_.begin(); each != all_.end();) {
    if (each->end <= removed.begin || each->begin >= removed.end) {
      ++each;
      continue;
    }
    const AddressInterval above{removed.end, each->end};
    each->end = std::max(each->begin, removed.begin);
    each = each->begin == each->end ? all_.erase(each) : each + 1;
    if (above.begin < above.end) {
      try {
        each = all_.insert(each, above) + 1;
      } catch (const std::bad_alloc&) {
        return;
      }
    }
  }
}

}  // namespace growstack::handler
