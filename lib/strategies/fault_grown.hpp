// Stacks that grow by our faults: PROT_NONE address space, made readable and writable step by step
// from the top. What pipe_helper and in_handler share, which is everything but the thread that
// commits.
#pragma once

#include "strategies/implementation.hpp"

namespace growstack {

class FaultGrown : public Implementation {
 public:
  [[nodiscard]] handler::Growth growth() const noexcept final { return handler::Growth::by_fault; }
  [[nodiscard]] Layout layout(const StackOptions& options) const noexcept final;
  [[nodiscard]] int open(const Bounds& bounds, const Layout& layout, const StackOptions& options,
                         std::uintptr_t& limit) const noexcept final;
  [[nodiscard]] bool may_grow_unseen() const noexcept final { return false; }
  [[nodiscard]] int trim(handler::SlotRecord& slot, const Layout& layout,
                         std::uintptr_t keep_from) const noexcept final;
  [[nodiscard]] int close(const handler::SlotRecord& slot,
                          const Layout& layout) const noexcept final;

 protected:
  ~FaultGrown() = default;
};

}  // namespace growstack
