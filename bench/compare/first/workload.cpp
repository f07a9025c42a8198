#include "first/workload.hpp"

#include "parts/descent.hpp"
#include "subjects/subject.hpp"

namespace growstack::compare {
namespace {

constexpr std::size_t frame = 3584;

[[gnu::noinline]] void call_down(std::uintptr_t lowest) {
  volatile char room[frame];  // NOLINT(modernize-avoid-c-arrays): its members are never read
  room[0] = 1;
  if (bench::address_of(room) >= lowest + frame) {
    call_down(lowest);
  }
  asm volatile("" : : : "memory");  // no jump in place of the call
}

}  // namespace

void go_down(std::size_t depth) {
  constexpr std::size_t above = 512;
  call_down(bench::address_of(__builtin_frame_address(0)) + above - depth);
}

PoolOptions usual_pool(const std::string& strategy) {
  return {.reserve = first_reserve, .strategy = strategy_named(strategy), .name = "first"};
}

}  // namespace growstack::compare
