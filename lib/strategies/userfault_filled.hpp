// Read-write memory whose missing pages the kernel asks us for (userfaultfd). userfault and
// userfault_signal share this. The two differ in who is asked: a monitor thread, or the fault
// handler by SIGBUS.
#pragma once

#include "strategies/implementation.hpp"

#include <growstack/handler/userfault.hpp>

namespace growstack {

class UserfaultFilled : public Implementation {
 public:
  void start() const override;
  [[nodiscard]] int open(const Bounds& bounds, const Layout& layout,
                         const StackOptions& options) const noexcept override;
  /// Fills the step with memory where the stack is touched. A frame jumped over what lies a whole
  /// step or more above that; it is filled with the page of zeros, which costs page tables only.
  [[nodiscard]] int commit(const handler::SlotRecord& slot, const Layout& layout,
                           handler::Step step) const noexcept final;
  /// Discards everything down to the floor, not only from the limit on: in a forked child the
  /// kernel fills pages, and nobody lowers the limit.
  [[nodiscard]] int trim(handler::SlotRecord& slot, const Layout& layout,
                         std::uintptr_t keep_from) const noexcept final;
  /// Discards pages and fills them again at once, because the next code that runs there would ask
  /// for each page alone. In a forked child nobody is asked: the kernel fills.
  [[nodiscard]] int discard(std::uintptr_t begin, std::size_t size) const noexcept final;

 protected:
  constexpr UserfaultFilled(const StrategyDescription& description,
                            handler::UserfaultKind kind) noexcept
      : Implementation(description), kind_(kind) {}
  ~UserfaultFilled() = default;

  /// Moves memory from Reserved to a state in which the kernel asks us for each missing page.
  [[nodiscard]] int watch(std::uintptr_t begin, std::size_t size) const noexcept;
  /// Does the same with [begin, base) of one slot, for which commit_in_pieces() commits.
  [[nodiscard]] int watch_in_pieces(const Bounds& bounds, std::uintptr_t begin,
                                    const Layout& layout) const noexcept;

 private:
  [[nodiscard]] int watch_committed(std::uintptr_t begin, std::size_t size) const noexcept;

  handler::UserfaultKind kind_;
};

}  // namespace growstack
