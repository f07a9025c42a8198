#include "pool/names.hpp"

#include <algorithm>

namespace growstack {

PoolNames::PoolNames(std::string_view name_of_pool) {
  tallies_.push_back(std::make_unique<NameTally>(name_of_pool));
}

std::size_t PoolNames::number_of(std::string_view name) {
  if (name.empty()) {
    return 0;
  }
  const auto found = std::find_if(tallies_.begin(), tallies_.end(),
                                  [&](const auto& each) { return each->name() == name; });
  const auto number = static_cast<std::size_t>(found - tallies_.begin());
  if (found != tallies_.end()) {
    return number;
  }
  if (tallies_.size() == ThreadCache::most_names) {
    return 0;
  }
  tallies_.push_back(std::make_unique<NameTally>(name));
  return number;
}

NameTally& PoolNames::tally_of(ThreadCache* cache, std::size_t number) noexcept {
  if (cache == nullptr) {
    return *tallies_[number];
  }
  if (cache->tally(number) == nullptr) {
    try {
      if (cache->names.size() <= number) {
        cache->names.resize(number + 1);
      }
      cache->names[number] = std::make_unique<NameHere>(tallies_[number]->name());
    } catch (...) {
      return *tallies_[number];
    }
  }
  return *cache->tally(number);
}

void PoolNames::merge(const ThreadCache& cache) noexcept {
  for (std::size_t number = 0; number < tallies_.size(); ++number) {
    if (const NameTally* const tally = cache.tally(number); tally != nullptr) {
      tallies_[number]->add(*tally);
    }
  }
}

}  // namespace growstack
