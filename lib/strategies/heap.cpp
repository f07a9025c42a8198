// heap: the naive baseline. Memory from malloc, and nothing below it that would notice an overflow:
// the bytes that lie there are somebody's, and are overwritten in silence. Neither grown by us nor
// known to the fault handler.
#include "strategies/always_committed.hpp"

#include <cerrno>

namespace growstack {
namespace {

class Heap final : public AlwaysCommitted {
 public:
  [[nodiscard]] const StrategyDescription& description() const noexcept override {
    static constexpr StrategyDescription text{
        Strategy::heap, "heap", "malloc, no guard: an overflow corrupts memory in silence", "any"};
    return text;
  }
  [[nodiscard]] bool from_heap() const noexcept override { return true; }

  [[nodiscard]] Layout layout(const StackOptions& options) const noexcept override {
    return {.first = 0, .slot_size = options.reserve, .reserve = options.reserve, .guard = 0};
  }
  [[nodiscard]] int open(const Bounds& bounds, const Layout&, const StackOptions&,
                         std::uintptr_t& limit) const noexcept override {
    limit = bounds.floor;
    return 0;
  }
  [[nodiscard]] int trim(handler::SlotRecord&, const Layout&,
                         std::uintptr_t) const noexcept override {
    return ENOTSUP;
  }
  [[nodiscard]] int close(const handler::SlotRecord&, const Layout&) const noexcept override {
    return 0;
  }
};

}  // namespace

const Implementation& heap_strategy() noexcept {
  static const Heap instance;
  return instance;
}

}  // namespace growstack
