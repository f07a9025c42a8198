// The names of a pool's stacks. Each has a number, which the marks of a slot have room for, and a
// tally.
#pragma once

#include "pool/tally.hpp"
#include "pool/thread_cache.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace growstack {

/// Used under the pool's lock.
class PoolNames {
 public:
  /// The pool's own name has the number 0.
  explicit PoolNames(std::string_view name_of_pool);

  [[nodiscard]] const std::string& name(std::size_t number) const noexcept {
    return tallies_[number]->name();
  }

  /// Returns the number of a name, and numbers a new one. Returns 0, the number of the pool's own
  /// name, for an empty name, and for a new one if no number is left. Throws std::bad_alloc.
  [[nodiscard]] std::size_t number_of(std::string_view name);

  /// Returns the tally of a name in a thread's cache; the pool's tally if there is no cache (null),
  /// or no memory for a tally in it.
  [[nodiscard]] NameTally& tally_of(ThreadCache* cache, std::size_t number) noexcept;

  /// Adds the tallies of a cache to the pool's, because the cache is about to end.
  void merge(const ThreadCache& cache) noexcept;

  /// Calls visit(tally) for all tallies of one name.
  template <class Visit>
  void visit(std::size_t number, const std::vector<ThreadCache*>& caches, Visit visit) const {
    visit(*tallies_[number]);
    for (ThreadCache* const cache : caches) {
      if (NameTally* const tally = cache->tally(number); tally != nullptr) {
        visit(*tally);
      }
    }
  }

  [[nodiscard]] std::size_t count() const noexcept { return tallies_.size(); }

 private:
  /// By number. They count what no cache counts, or what a cache counted that has ended.
  std::vector<std::unique_ptr<NameTally>> tallies_;
};

}  // namespace growstack
