#include "parts/one_fault.hpp"

#include "parts/descent.hpp"
#include "parts/samples.hpp"

#include <growstack/growstack.hpp>

#include <chrono>
#include <vector>

namespace growstack::bench {

double time_one_fault(Strategy strategy) {
  constexpr std::size_t pages = 512;
  Stack stack({.reserve = one_fault_reserve,
               .policy = page_by_page,
               .strategy = strategy,
               .name = "one fault"});
  std::vector<double> nanoseconds(pages);
  call(stack, [&] { time_each_page(nanoseconds, std::chrono::nanoseconds(0)); });
  return median(nanoseconds);
}

void prepare_to_time_pages() {
  std::vector<double> once(1);
  time_each_page(once, std::chrono::nanoseconds(1));
}

}  // namespace growstack::bench
