// demand_paging_huge: demand paging's best case. The uppermost part in small pages, so that a
// shallow stack costs what it touches, and huge pages below, from the depth that the policy says:
// one page fault for 2 MiB. Costs a third mapping: all of the stack is readable and writable from
// the start, so its uppermost part has to decline huge pages.
#include "strategies/always_committed.hpp"
#include "strategies/core_dumps.hpp"

#include <fstream>
#include <string>

namespace growstack {
namespace {

/// The kernel marks the setting in force with brackets: "always [madvise] never".
bool huge_pages_are_off() {
  std::ifstream setting("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string words;
  std::getline(setting, words);
  return words.empty() || words.find("[never]") != std::string::npos;
}

class DemandPagingHuge final : public AlwaysCommitted {
 public:
  [[nodiscard]] const StrategyDescription& description() const noexcept override {
    static constexpr StrategyDescription text{
        Strategy::demand_paging_huge, "demand_paging_huge",
        "demand paging with huge pages, below the uppermost 2 MiB or where the policy says", "5.9"};
    return text;
  }

  [[nodiscard]] std::string missing_here() const override {
    return huge_pages_are_off() ? "no huge pages: /sys/kernel/mm/transparent_hugepage/enabled says "
                                  "never, or is not there"
                                : std::string();
  }

  [[nodiscard]] Layout layout(const StackOptions& options) const noexcept override {
    return layout_with_huge_pages(options);
  }

  [[nodiscard]] int open(const Bounds& bounds, const Layout& layout, const StackOptions&,
                         std::uintptr_t& limit) const noexcept override {
    limit = bounds.floor;
    const std::size_t reserve = bounds.base - bounds.floor;
    int error = vm::commit_uncharged(bounds.floor, reserve, vm::Pages::small);
    if (error == 0 && layout.pages() == vm::Pages::huge_too) {
      error = vm::want_huge_pages(bounds.floor, reserve - layout.huge_from);
      if (error != 0) {
        static_cast<void>(vm::decommit(bounds.floor, reserve, layout.pages()));
      }
    }
    if (error == 0) {
      split_for_core_dumps(bounds);
    }
    return error;
  }
};

}  // namespace

const Implementation& demand_paging_huge_strategy() noexcept {
  static const DemandPagingHuge instance;
  return instance;
}

}  // namespace growstack
