// Stacks without growth events: the whole stack is readable and writable from the start.
// demand_paging, demand_paging_huge, locked and heap share this.
#pragma once

#include "strategies/implementation.hpp"

namespace growstack {

class AlwaysCommitted : public Implementation {
 public:
  [[nodiscard]] std::uintptr_t first_limit(const Bounds& bounds,
                                           const StackOptions&) const noexcept final {
    return bounds.floor;
  }
  /// Returns the deepest page that is resident now. No event tells how deep the stack ever was.
  [[nodiscard]] std::uintptr_t high_water(const handler::SlotRecord& slot,
                                          const Layout& layout) const noexcept final;
  [[nodiscard]] int trim(handler::SlotRecord& slot, const Layout& layout,
                         std::uintptr_t keep_from) const noexcept final;
  [[nodiscard]] int close(const handler::SlotRecord& slot,
                          const Layout& layout) const noexcept override;

 protected:
  using Implementation::Implementation;
  ~AlwaysCommitted() = default;
};

}  // namespace growstack
