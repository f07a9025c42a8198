// The places of all stacks in use. No two may overlap.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <utility>

namespace growstack::soak {

class Territory {
 public:
  /// Says so if the place overlaps another one.
  void enter(std::uintptr_t begin, std::uintptr_t end);
  void leave(std::uintptr_t begin);

  std::mutex mutex;

 private:
  std::map<std::uintptr_t, std::uintptr_t> taken_;
};

/// A place that is left at the end of its life.
class Place {
 public:
  Place(Territory& territory, std::uintptr_t begin, std::uintptr_t end)
      : territory_(&territory), begin_(begin) {
    territory.enter(begin, end);
  }
  ~Place() { leave(); }
  Place(Place&& other) noexcept
      : territory_(std::exchange(other.territory_, nullptr)), begin_(other.begin_) {}
  Place& operator=(Place&&) = delete;

  void leave() {
    if (territory_ != nullptr) {
      std::exchange(territory_, nullptr)->leave(begin_);
    }
  }

 private:
  Territory* territory_;
  std::uintptr_t begin_;
};

}  // namespace growstack::soak
