// in_handler: the counterpart of pipe_helper. The fault handler calls mprotect(2) by itself, which
// POSIX does not list as safe there and Linux allows. The difference between the two strategies is
// what the pipe costs.
#include "strategies/fault_grown.hpp"

namespace growstack {
namespace {

constexpr StrategyDescription in_handler{
    .strategy = Strategy::in_handler,
    .name = "in_handler",
    .description = "PROT_NONE; the fault handler commits by itself",
    .least_kernel = "5.9",
    .event = GrowthEvent::segmentation_fault,
    .limit_is_exact = true,
    .huge_pages = true,
    .charge = DataCharge::as_it_grows};

constinit const FaultGrown instance{in_handler};

}  // namespace

template <>
const Implementation& implementation_of<Strategy::in_handler>() noexcept {
  return instance;
}

}  // namespace growstack
