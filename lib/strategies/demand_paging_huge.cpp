// demand_paging_huge: the best case of demand paging. The uppermost part of the stack has small
// pages, so that a shallow stack costs what it touches. From the depth that the policy says, pages
// are huge: one page fault for 2 MiB. This costs a third mapping, because the whole stack is
// readable and writable from the start, so that its uppermost part has to decline huge pages.
#include "strategies/always_committed.hpp"
#include "strategies/core_dumps.hpp"

#include <growstack/handler/without_cancellation.hpp>

#include <fstream>
#include <string>

namespace growstack {
namespace {

constexpr StrategyDescription demand_paging_huge{
    .strategy = Strategy::demand_paging_huge,
    .name = "demand_paging_huge",
    .description =
        "demand paging with huge pages, below the uppermost 2 MiB or where the policy says",
    .least_kernel = "5.9",
    .huge_pages = true};

/// The kernel marks the setting in force with brackets: "always [madvise] never".
bool huge_pages_are_off() {
  const handler::WithoutCancellation without_cancellation;  // the destructor of a file closes it
  std::ifstream setting("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string words;
  std::getline(setting, words);
  return words.empty() || words.find("[never]") != std::string::npos;
}

class DemandPagingHuge final : public AlwaysCommitted {
 public:
  constexpr DemandPagingHuge() noexcept : AlwaysCommitted(demand_paging_huge) {}

  [[nodiscard]] std::string missing_here() const override {
    return huge_pages_are_off() ? "no huge pages: /sys/kernel/mm/transparent_hugepage/enabled says "
                                  "never, or is not there"
                                : std::string();
  }

  [[nodiscard]] int open(const Bounds& bounds, const Layout& layout,
                         const StackOptions&) const noexcept override {
    const std::size_t reserve = bounds.base - bounds.floor;
    int error = commit_in_pieces(bounds, bounds.floor, vm::Pages::small, layout.core_depth);
    if (error == 0 && layout.pages() == vm::Pages::huge_too) {
      error = vm::want_huge_pages(bounds.floor, reserve - layout.huge_from);
      if (error != 0) {
        static_cast<void>(vm::decommit(bounds.floor, reserve, layout.pages()));
      }
    }
    return error;
  }
};

constinit const DemandPagingHuge instance;

}  // namespace

template <>
const Implementation& implementation_of<Strategy::demand_paging_huge>() noexcept {
  return instance;
}

}  // namespace growstack
