// A consumer that is compiled without run-time type information (-fno-rtti): a part of
// memory_resource.cpp.
#include <growstack/memory_resource.hpp>

#include <memory_resource>
#include <numeric>
#include <vector>

#ifdef __GXX_RTTI
#error "this file is compiled with -fno-rtti"
#endif

namespace growstack::testing {

long sum_without_rtti(long count);

/// Returns the sum of the numbers below `count`.
long sum_without_rtti(long count) {
  growstack::memory_resource region;
  std::pmr::unsynchronized_pool_resource pool(&region);
  std::pmr::vector<long> numbers(static_cast<std::size_t>(count), &region);
  std::iota(numbers.begin(), numbers.end(), 0L);
  const std::pmr::vector<long> copy(numbers, &pool);
  return region == pool ? -1 : std::accumulate(copy.begin(), copy.end(), 0L);
}

}  // namespace growstack::testing
