// What an arena plans for a fault: the policy, what a pool's stacks are kept to, and budgets that
// are nearly used up. Arenas of many kinds stand ready; an input chooses one, and what its slot,
// its account and its pool know.
#include "input.hpp"

#include "arenas/arena.hpp"
#include "arenas/validated_options.hpp"
#include "memory/account.hpp"

#include <growstack/handler/slot.hpp>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

namespace growstack::inputs {
namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t unlimited = Account::unlimited;

/// An arena with an account of its own, and what a pool would tell it.
struct Prepared {
  Account whole{"whole", nullptr};
  Account account{"part", &whole};
  KeptDepths depths;
  Arena arena;

  explicit Prepared(const StackOptions& options) : arena(Kind::of(options), account, 1) {}
};

const std::vector<std::unique_ptr<Prepared>>& all_prepared() {
  static const auto all = [] {
    std::vector<std::unique_ptr<Prepared>> made;
    constexpr std::size_t mebibyte = std::size_t{1} << 20;
    for (const Strategy strategy : {Strategy::in_handler, Strategy::pipe_helper,
                                    Strategy::guard_markers, Strategy::demand_paging}) {
      for (const std::size_t reserve : {page, 16 * page, 5 * mebibyte, 64 * mebibyte}) {
        for (const GrowthPolicy& policy : {GrowthPolicy(), GrowthPolicy::pooled(),
                                           GrowthPolicy::frugal(), GrowthPolicy::throughput(),
                                           GrowthPolicy{.factor = 16,
                                           .least_step = 3 * page,
                                           .largest_step = 5 * page,
                                           .headroom = mebibyte,
                                           .huge_from = 40 * page}}) {
          made.push_back(std::make_unique<Prepared>(
              validated({.reserve = reserve, .policy = policy, .strategy = strategy})));
        }
      }
    }
    return made;
  }();
  return all;
}

/// Sets how much is used and allowed.
void set(Input& input, Account& account) {
  account.credit(account.used());
  account.set_budget(unlimited);
  static_cast<void>(account.charge(input.magnitude(0, std::size_t{1} << 28)));
  account.set_budget(input.magnitude(0, std::size_t{1} << 31));
}

/// How much would be charged for a stack whose limit that is.
std::size_t charged_at(const Arena& arena, const Bounds& bounds, std::uintptr_t limit) {
  return bounds.base - arena.implementation().committed_from(bounds, arena.layout(), limit);
}

}  // namespace

void try_input(Input& input) {
  const auto& all = all_prepared();
  Prepared& prepared = *all[input.from(0, all.size() - 1)];
  Arena& arena = prepared.arena;
  const GrowthPolicy& policy = arena.kind().policy;
  const Bounds bounds = arena.bounds_of(0);
  handler::SlotRecord slot;
  slot.base = bounds.base;
  slot.floor = bounds.floor;
  slot.guard = bounds.guard;
  const std::size_t pages = (bounds.base - bounds.floor) / page;
  const std::uintptr_t limit = bounds.floor + input.magnitude(0, pages) * page;
  slot.limit = limit;
  const std::uintptr_t address = bounds.floor + input.magnitude(0, bounds.base - bounds.floor - 1);
  set(input, prepared.account);
  prepared.whole.set_budget(unlimited);

  const bool is_pools = input.flag();
  const std::size_t name = input.from(0, 255);
  const bool has_grown = input.flag();
  const bool is_sample = input.flag();
  const std::size_t kept = input.magnitude(page, std::size_t{1} << 30) / page * page;
  arena.kept = is_pools ? &prepared.depths : nullptr;
  prepared.depths.bytes[name] = kept;
  slot.marks = static_cast<std::uint32_t>(name) | (has_grown ? handler::grown_mark : 0U) |
               (is_sample ? sampled_mark : 0U);

  const handler::Step step = arena.range().operations->plan(arena.range(), slot, address);
  if (address >= limit) {
    require_equal(step.begin, step.end, "what is committed needs no step");
    return;
  }
  const std::size_t left = prepared.account.left();
  std::uintptr_t wished = grown_limit(policy, bounds.base, bounds.floor, limit, address, page);
  const std::size_t fifth = prepared.account.budget() / 5;
  if (is_pools && !has_grown && !is_sample && prepared.account.used() <= fifth) {
    // As deep as others of its name are kept, by no more than the largest step, if that is left.
    std::uintptr_t deep = kept > bounds.base - bounds.floor ? bounds.floor : bounds.base - kept;
    while (limit > deep && limit - deep > policy.largest_step) {
      deep += std::max(page, (limit - deep - policy.largest_step) / page * page);
    }
    if (deep < limit && limit - deep <= left) {
      wished = std::min(wished, deep);
    }
  }
  const bool fits = charged_at(arena, bounds, wished) - charged_at(arena, bounds, limit) <= left;
  require_equal(step.end, limit, "growth is contiguous");
  require_equal(step.begin, fits ? wished : address / page * page,
                "a budget that is nearly used up gives the touched page, and no more");
  require(bounds.floor <= step.begin && step.begin <= address && step.begin % page == 0,
          "a step has the address, and ends at the floor");
}

}  // namespace growstack::inputs
