#include "arenas/validated_options.hpp"

#include "errors.hpp"
#include "memory/vm.hpp"

#include <growstack/handler/init_order.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace growstack {
namespace {

/// The handler's table of ranges must have room for a stack and for the alignment of its arena.
constexpr std::size_t largest_reserve = std::size_t{64} << 40;  // 64 TiB

/// Reads GROWSTACK_INITIAL_COMMIT (growth_policy.hpp), unless the program runs with more rights
/// than whoever started it.
bool read_initial_commit() noexcept {
  const char* const value = secure_getenv("GROWSTACK_INITIAL_COMMIT");
  if (value == nullptr || *value == '\0') {
    return false;
  }
  const bool one_page = std::string_view(value) == "page";
  if (!one_page) {
    static_cast<void>(std::fprintf(
        stderr,
        "growstack: GROWSTACK_INITIAL_COMMIT is \"%.40s\", but can only be \"page\": ignored\n",
        value));
  }
  return one_page;
}

/// Read when the program is loaded, so that no other thread can change the environment meanwhile;
/// and before static objects of the program are made, because these may have stacks.
struct Environment {
  bool commits_one_page = read_initial_commit();
};
[[gnu::init_priority(handler::init_registers)]] const Environment environment;

void require(bool fulfilled, const std::string& message) {
  if (!fulfilled) {
    fail(EINVAL, message);
  }
}

}  // namespace

bool commits_one_page() noexcept { return environment.commits_one_page; }

StackOptions validated(StackOptions options) {
  require(options.strategy == Strategy::automatic || describe(options.strategy) != nullptr,
          "StackOptions::strategy is none of the enumeration");
  require(options.reserve > 0 && options.reserve <= largest_reserve,
          "StackOptions::reserve must be from 1 byte to " + in_bytes(largest_reserve) + ", not " +
              in_bytes(options.reserve));
  require(options.guard > 0 && options.guard <= largest_reserve,
          "StackOptions::guard must be from 1 byte to " + in_bytes(largest_reserve) + ", not " +
              in_bytes(options.guard) + ": a stack without a guard corrupts memory");
  require(options.core_depth > 0 && options.core_depth <= largest_reserve,
          "StackOptions::core_depth must be from 1 byte to " + in_bytes(largest_reserve) +
              ", not " + in_bytes(options.core_depth));
  GrowthPolicy& policy = options.policy;
  require(policy.factor >= 1.0 && policy.factor <= 16.0,
          "GrowthPolicy::factor must be from 1 to 16, not " + std::to_string(policy.factor));
  require(policy.least_step > 0 && policy.least_step <= policy.largest_step &&
              policy.largest_step <= largest_reserve,
          "GrowthPolicy::least_step must be at least 1 byte and at most largest_step, which is at "
          "most " +
              in_bytes(largest_reserve));
  require(policy.initial_commit > 0 && policy.initial_commit <= largest_reserve,
          "GrowthPolicy::initial_commit must be from 1 byte to " + in_bytes(largest_reserve) +
              ", not " + in_bytes(policy.initial_commit));
  require(policy.headroom <= largest_reserve, "GrowthPolicy::headroom must be at most " +
                                                  in_bytes(largest_reserve) + ", not " +
                                                  in_bytes(policy.headroom));
  options.reserve = vm::page_up(options.reserve);
  options.guard = vm::page_up(options.guard);
  options.core_depth = vm::page_up(options.core_depth);
  policy.least_step = vm::page_up(policy.least_step);
  policy.largest_step = vm::page_up(policy.largest_step);
  require(policy.huge_from <= vm::huge_page, "GrowthPolicy::huge_from must be at most " +
                                                 in_bytes(vm::huge_page) + " (0: never), not " +
                                                 in_bytes(policy.huge_from));
  policy.huge_from = vm::page_up(policy.huge_from);
  policy.initial_commit = environment.commits_one_page
                              ? vm::page_size()
                              : std::min(vm::page_up(policy.initial_commit), options.reserve);
  return options;
}

}  // namespace growstack
