// Which addresses are in a set: arithmetic on intervals.
#pragma once

#include <cstdint>
#include <vector>

namespace growstack::handler {

/// Addresses [begin, end).
struct AddressInterval {
  std::uintptr_t begin;
  std::uintptr_t end;
};

/// A set of addresses, as intervals that ascend and lie apart from each other: those that touch
/// become one. Not for several threads at once.
class AddressSet {
 public:
  /// Adds addresses of which none is in the set. Throws std::bad_alloc, and then the set is as it
  /// was.
  void add(AddressInterval added);

  /// Removes addresses, of which some may not be in the set. This takes memory only to split an
  /// interval. If there is none, the set loses the upper part of that interval as well.
  void remove(AddressInterval removed) noexcept;

  [[nodiscard]] const std::vector<AddressInterval>& all() const noexcept { return all_; }

 private:
  std::vector<AddressInterval> all_;
};

}  // namespace growstack::handler
