#include "subjects/pools.hpp"

#include "parts/system_calls.hpp"

#include <growstack/handler/pages.hpp>

#include <exception>

namespace growstack::compare {

std::vector<Subject> those_for_many(const Session& session) {
  return session.strategies(is_for_many);
}

std::vector<Subject> pooled_and_peers(const Session& session) {
  std::vector<Subject> all = session.strategies(has_pools);
  for (const std::string_view name :
       {boost_pooled_name, boost_fixedsize_name, boost_protected_name, glibc_thread_name}) {
    if (const auto peer = session.peer(name)) {
      all.push_back(*peer);
    }
  }
  return all;
}

PoolOptions small_stacks(const std::string& strategy) {
  return {.reserve = pooled_reserve,
          .guard = handler::page_size(),
          .strategy = strategy_named(strategy),
          .name = "compared"};
}

nlohmann::json count_system_calls(StackPool& pool) {
  constexpr unsigned pairs = 1000;
  try {
    return {{"count", bench::runs_with_system_calls(pairs, [&] { pair(pool); })}};
  } catch (const std::exception& error) {
    return {{"refusal", error.what()}};
  }
}

}  // namespace growstack::compare
