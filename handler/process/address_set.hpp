// Which stretches of address space are in a set: arithmetic.
#pragma once

#include <cstdint>
#include <vector>

namespace growstack::handler {

struct Stretch {
  std::uintptr_t begin;
  std::uintptr_t end;
};

/// Ascending and apart from each other: those that touch become one. Not for several threads at
/// once.
class Stretches {
 public:
  /// One of which nothing is in the set. Throws std::bad_alloc, and then the set is as it was.
  void add(Stretch added);

  /// Takes no memory but to split a stretch. Where there is none, what lies above in that stretch
  /// is lost as well.
  void remove(Stretch removed) noexcept;

  [[nodiscard]] const std::vector<Stretch>& all() const noexcept { return all_; }

 private:
  std::vector<Stretch> all_;
};

}  // namespace growstack::handler
