// pipe_helper: the subject of the experiment. The fault handler writes a request into a pipe, the
// helper thread commits, and the faulting thread resumes. The handler itself needs only what POSIX
// lists as safe in a signal handler.
#include "strategies/fault_grown.hpp"

namespace growstack {
namespace {

constexpr StrategyDescription pipe_helper{
    .strategy = Strategy::pipe_helper,
    .name = "pipe_helper",
    .description =
        "PROT_NONE; the fault handler asks a helper thread through a pipe, which commits",
    .least_kernel = "5.9",
    .event = GrowthEvent::segmentation_fault,
    .helper_commits = true,
    .needs_thread = true,
    .limit_is_exact = true,
    .huge_pages = true,
    .charge = DataCharge::as_it_grows,
    .automatic_rank = 3};

constinit const FaultGrown instance{pipe_helper};

}  // namespace

template <>
const Implementation& implementation_of<Strategy::pipe_helper>() noexcept {
  return instance;
}

}  // namespace growstack
