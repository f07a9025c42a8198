// heap: the naive baseline. The memory comes from malloc, and nothing below it notices an overflow:
// the bytes there belong to something else and are silently overwritten. The library does not grow
// such a stack, and the fault handler does not know it.
#include "strategies/always_committed.hpp"

namespace growstack {
namespace {

constexpr StrategyDescription heap{
    .strategy = Strategy::heap,
    .name = "heap",
    .description = "malloc, no guard: an overflow corrupts memory in silence",
    .least_kernel = "any",
    .guarded = false,
    .own_address_space = false,
    .trims = false};

class Heap final : public AlwaysCommitted {
 public:
  constexpr Heap() noexcept : AlwaysCommitted(heap) {}

  [[nodiscard]] Layout layout(const StackOptions& options) const noexcept override {
    return {.first = 0, .slot_size = options.reserve, .reserve = options.reserve, .guard = 0};
  }
  [[nodiscard]] int open(const Bounds&, const Layout&,
                         const StackOptions&) const noexcept override {
    return 0;
  }
  [[nodiscard]] int close(const handler::SlotRecord&, const Layout&) const noexcept override {
    return 0;
  }
};

constinit const Heap instance;

}  // namespace

template <>
const Implementation& implementation_of<Strategy::heap>() noexcept {
  return instance;
}

}  // namespace growstack
