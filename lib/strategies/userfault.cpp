// userfault: userfaultfd with a monitor thread. No signal is raised, and faults inside a system
// call are served too, if the process has the right to ask for that. The monitor cannot let a
// thread die, so the guard is PROT_NONE.
#include "memory/vm.hpp"
#include "strategies/userfault_filled.hpp"

#include <string>

namespace growstack {
namespace {

constexpr StrategyDescription userfault{
    .strategy = Strategy::userfault,
    .name = "userfault",
    .description = "userfaultfd: a monitor thread fills pages; no signal is raised",
    .least_kernel = "5.9",
    .event = GrowthEvent::monitor,
    .needs_thread = true,
    .largest_factor = 2};  // what is committed is filled: too much of it would be memory

class Userfault final : public UserfaultFilled {
 public:
  constexpr Userfault() noexcept : UserfaultFilled(userfault, handler::UserfaultKind::monitor) {}

  [[nodiscard]] std::string missing_here() const override {
    return handler::serves_system_calls()
               ? std::string()
               : "faults of the program's own code only, not inside system calls: these take "
                 "CAP_SYS_PTRACE, vm.unprivileged_userfaultfd=1, or access to /dev/userfaultfd";
  }

  [[nodiscard]] std::size_t asked_by_open(const Bounds& bounds,
                                          const StackOptions&) const noexcept override {
    return bounds.base - bounds.floor;
  }

  [[nodiscard]] int open(const Bounds& bounds, const Layout& layout,
                         const StackOptions& options) const noexcept override {
    const std::size_t size = bounds.base - bounds.floor;
    int error = watch_in_pieces(bounds, bounds.floor, layout);
    if (error == 0) {
      error = UserfaultFilled::open(bounds, layout, options);
      if (error != 0) {
        static_cast<void>(vm::decommit(bounds.floor, size, vm::Pages::small));
      }
    }
    return error;
  }

  [[nodiscard]] int close(const handler::SlotRecord& slot, const Layout&) const noexcept override {
    const std::uintptr_t floor = slot.floor.load(std::memory_order_relaxed);
    return vm::decommit(floor, slot.base.load(std::memory_order_relaxed) - floor, vm::Pages::small);
  }
};

constinit const Userfault instance;

}  // namespace

template <>
const Implementation& implementation_of<Strategy::userfault>() noexcept {
  return instance;
}

}  // namespace growstack
