#include "pool_subject.hpp"

#include <growstack/handler/pages.hpp>

#include <array>

namespace growstack::compare {

bool has_pools(Strategy strategy) { return strategy != Strategy::grows_down && strategy != Strategy::heap; }

std::vector<Subject> pooled_and_peers(const Session& session) {
  std::vector<Subject> all = session.strategies(has_pools);
  for (const std::string_view name : {boost_pooled_name, boost_fixedsize_name, boost_protected_name, glibc_thread_name}) {
    if (const auto peer = session.peer(name)) {
      all.push_back(*peer);
    }
  }
  return all;
}

PoolOptions small_stacks(const std::string& strategy) {
  return {
      .reserve = pooled_reserve, .guard = handler::page_size(), .strategy = strategy_named(strategy), .name = "compared"};
}

void use_a_little() {
  std::array<char, 256> room;
  room.fill(1);
  asm volatile("" : : "r"(room.data()) : "memory");
}

}  // namespace growstack::compare
