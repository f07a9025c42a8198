// pipe_helper: the subject of the experiment. The fault handler writes a request into a pipe, the
// helper thread commits, the faulting thread resumes. The handler itself needs only what POSIX
// lists as safe in a signal handler.
#include "strategies/fault_grown.hpp"

namespace growstack {
namespace {

class PipeHelper final : public FaultGrown {
 public:
  [[nodiscard]] const StrategyDescription& description() const noexcept override {
    static constexpr StrategyDescription text{
        Strategy::pipe_helper, "pipe_helper",
        "PROT_NONE; the fault handler asks a helper thread through a pipe, which commits", "5.9"};
    return text;
  }
  [[nodiscard]] handler::Committer committer() const noexcept override {
    return handler::Committer::helper;
  }
};

}  // namespace

const Implementation& pipe_helper_strategy() noexcept {
  static const PipeHelper instance;
  return instance;
}

}  // namespace growstack
