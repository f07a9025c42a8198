// Stacks without growth events: all of them is readable and writable from the start. What
// demand_paging, demand_paging_huge, locked and heap share.
#pragma once

#include "strategies/implementation.hpp"

namespace growstack {

class AlwaysCommitted : public Implementation {
 public:
  [[nodiscard]] handler::Growth growth() const noexcept final { return handler::Growth::by_kernel; }
  [[nodiscard]] std::size_t asked_by_open(const Bounds& bounds,
                                          const StackOptions&) const noexcept final {
    return bounds.base - bounds.floor;
  }
  /// No event tells how deep it went: the deepest page that is resident now is all there is to see.
  [[nodiscard]] std::uintptr_t high_water(const handler::SlotRecord& slot,
                                          const Layout& layout) const noexcept final;
  /// Unmaps physical memory; ENOTSUP for those that do not let it go.
  [[nodiscard]] int trim(handler::SlotRecord& slot, const Layout& layout,
                         std::uintptr_t keep_from) const noexcept override;
  [[nodiscard]] int close(const handler::SlotRecord& slot,
                          const Layout& layout) const noexcept override;

 protected:
  ~AlwaysCommitted() = default;
};

}  // namespace growstack
