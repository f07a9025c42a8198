// Stacks that grow by our faults: PROT_NONE address space, made readable and writable step by step
// from the top. pipe_helper and in_handler are this, and differ only in the thread that commits.
#pragma once

#include "strategies/implementation.hpp"

namespace growstack {

class FaultGrown final : public Implementation {
 public:
  explicit constexpr FaultGrown(const StrategyDescription& description) noexcept
      : Implementation(description) {}

  [[nodiscard]] int open(const Bounds& bounds, const Layout& layout,
                         const StackOptions& options) const noexcept override;
  [[nodiscard]] int commit(const handler::SlotRecord& slot, const Layout& layout,
                           handler::Step step) const noexcept override;
  void watch_low_end(handler::SlotRecord& slot) const noexcept override;
  [[nodiscard]] int permit_all(const handler::SlotRecord& slot) const noexcept override;
  [[nodiscard]] int trim(handler::SlotRecord& slot, const Layout& layout,
                         std::uintptr_t keep_from) const noexcept override;
  [[nodiscard]] int close(const handler::SlotRecord& slot,
                          const Layout& layout) const noexcept override;
  [[nodiscard]] int close_for_the_next(const handler::SlotRecord& slot,
                                       const Layout& layout) const noexcept override;
};

}  // namespace growstack
