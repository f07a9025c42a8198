// in_handler: the honest counterpart of pipe_helper. The fault handler calls mprotect(2) by itself,
// which POSIX does not list as safe there and Linux does not mind; the difference between the two
// is what the pipe costs.
#include "strategies/fault_grown.hpp"

namespace growstack {
namespace {

class InHandler final : public FaultGrown {
 public:
  [[nodiscard]] const StrategyDescription& description() const noexcept override {
    static constexpr StrategyDescription text{Strategy::in_handler, "in_handler",
                                              "PROT_NONE; the fault handler commits by itself",
                                              "5.9"};
    return text;
  }
};

}  // namespace

const Implementation& in_handler_strategy() noexcept {
  static const InHandler instance;
  return instance;
}

}  // namespace growstack
