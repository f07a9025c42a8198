// userfault and userfault_signal: read-write memory whose missing pages the kernel asks us for
// (userfaultfd). Committing fills them with the page of zeros, which costs page tables only. The
// two differ in who is asked: a monitor thread, or the fault handler by SIGBUS.
//
// userfault_signal needs no mapping for a guard: what is never filled is one. The monitor cannot
// let a thread die, so userfault's guard is PROT_NONE.
#include "errors.hpp"
#include "memory/residency.hpp"
#include "strategies/core_dumps.hpp"
#include "strategies/guard.hpp"
#include "strategies/implementation.hpp"
#include "memory/vm.hpp"

#include <growstack/handler/handler.hpp>
#include <growstack/handler/ranges.hpp>
#include <growstack/handler/userfault.hpp>

#include <cerrno>
#include <csignal>

namespace growstack {
namespace {

using handler::Filling;
using handler::UserfaultKind;

std::string why_refused(int error) {
  switch (error) {
    case EPERM:
      return "userfaultfd is forbidden here: by a seccomp filter, as in many containers, or, on "
             "kernels before 5.11, "
             "because "
             "vm.unprivileged_userfaultfd is 0";
    case ENOSYS:
      return "this kernel is built without userfaultfd";
    default:
      return "this kernel's userfaultfd does not know what is needed (Linux 5.9 does)";
  }
}

class Userfault : public Implementation {
 public:
  constexpr explicit Userfault(UserfaultKind kind) noexcept : kind_(kind) {}

  void start() const override {
    bool is_refused = false;
    if (const int error = handler::start_userfault(kind_, is_refused); is_refused) {
      fail(error, std::string(description().name) + ": " + why_refused(error));
    } else if (error != 0) {
      fail_for_thread(
          error, std::string(description().name) + ": cannot start the thread of a userfaultfd", 0);
    }
  }

  /// Everything committed is filled: what is committed ahead of need is memory.
  [[nodiscard]] double largest_factor() const noexcept final { return 2; }

  [[nodiscard]] int open(const Bounds& bounds, const Layout&, const StackOptions& options,
                         std::uintptr_t& limit) const noexcept override {
    limit = bounds.base - options.policy.initial_commit;
    return handler::fill_missing_pages(kind_, Filling::page_of_zeros, limit, bounds.base);
  }

  /// With memory where the stack is touched; what lies a whole step and more above that was jumped
  /// over.
  [[nodiscard]] int commit(const handler::SlotRecord& slot, const Layout&,
                           handler::Step step) const noexcept final {
    const std::size_t largest_step = slot.largest_step.load(std::memory_order_relaxed);
    const std::uintptr_t middle =
        step.end - step.begin > largest_step ? step.begin + largest_step : step.end;
    const int error = handler::fill_missing_pages(kind_, Filling::memory, step.begin, middle);
    return error == 0 ? handler::fill_missing_pages(kind_, Filling::page_of_zeros, middle, step.end)
                      : error;
  }

  /// All below, not only from the limit on: in a forked child the kernel fills, and nobody lowers
  /// the limit.
  [[nodiscard]] int trim(handler::SlotRecord& slot, const Layout&,
                         std::uintptr_t keep_from) const noexcept final {
    const std::uintptr_t floor = slot.floor.load(std::memory_order_relaxed);
    const auto discard_all = [&] { return vm::discard(floor, keep_from - floor); };
    return keep_from <= slot.limit.load(std::memory_order_acquire)
               ? discard_all()
               : give_back(slot, keep_from, discard_all);
  }

  /// Filled again at once, for the next call would ask for each page alone. In a forked child
  /// nobody asks: the kernel fills.
  [[nodiscard]] int discard(std::uintptr_t begin, std::size_t size) const noexcept final {
    int error = vm::discard(begin, size);
    if (error == 0) {
      error = handler::fill_missing_pages(kind_, Filling::page_of_zeros, begin, begin + size);
    }
    return error == ENOENT ? 0 : error;
  }

 protected:
  ~Userfault() = default;
  [[nodiscard]] UserfaultKind kind() const noexcept { return kind_; }

  /// Reserved to memory that we are asked for.
  [[nodiscard]] int watch(std::uintptr_t begin, std::size_t size) const noexcept {
    int error = vm::commit_uncharged(begin, size, vm::Pages::small);
    if (error == 0) {
      error = handler::watch_missing_pages(kind_, begin, size);
      if (error != 0) {
        static_cast<void>(vm::decommit(begin, size, vm::Pages::small));
      }
    }
    return error;
  }

 private:
  UserfaultKind kind_;
};

class UserfaultMonitor final : public Userfault {
 public:
  constexpr UserfaultMonitor() noexcept : Userfault(UserfaultKind::monitor) {}

  [[nodiscard]] const StrategyDescription& description() const noexcept override {
    static constexpr StrategyDescription text{
        Strategy::userfault, "userfault",
        "userfaultfd: a monitor thread fills pages; no signal is raised", "5.9"};
    return text;
  }
  [[nodiscard]] handler::Growth growth() const noexcept override {
    return handler::Growth::by_monitor;
  }

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

  [[nodiscard]] int open(const Bounds& bounds, const Layout& layout, const StackOptions& options,
                         std::uintptr_t& limit) const noexcept override {
    const std::size_t size = bounds.base - bounds.floor;
    int error = watch(bounds.floor, size);
    if (error == 0) {
      split_for_core_dumps(bounds);
      error = Userfault::open(bounds, layout, options, limit);
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

class UserfaultSignal final : public Userfault {
 public:
  constexpr UserfaultSignal() noexcept : Userfault(UserfaultKind::signal) {}

  [[nodiscard]] const StrategyDescription& description() const noexcept override {
    static constexpr StrategyDescription text{
        Strategy::userfault_signal, "userfault_signal",
        "userfaultfd: the fault handler fills pages at SIGBUS; no mapping a stack", "5.9"};
    return text;
  }
  [[nodiscard]] handler::Growth growth() const noexcept override {
    return handler::Growth::by_bus_error;
  }

  void start() const override {
    if (const int error = handler::install(SIGBUS); error != 0) {
      fail_for_thread(error, "userfault_signal: cannot install the SIGBUS handler", 0);
    }
    Userfault::start();
  }

  [[nodiscard]] int prepare(const Bounds& bounds, const Layout&) const noexcept override {
    const int error = watch(bounds.guard, bounds.base - bounds.guard);
    if (error == 0) {
      split_for_core_dumps(bounds);
      // What is never filled is a guard already, as long as somebody watches; markers, where the
      // kernel has them, hold also in a child that closes our descriptor or that nobody prepared (a
      // bare clone).
      static_cast<void>(install_guard(bounds, vm::Pages::small));
    }
    return error;
  }

  /// Between stacks every page of the slot is missing.
  [[nodiscard]] int close(const handler::SlotRecord& slot, const Layout&) const noexcept override {
    const std::uintptr_t floor = slot.floor.load(std::memory_order_relaxed);
    return vm::discard(floor, slot.base.load(std::memory_order_relaxed) - floor);
  }

  void forget(std::uintptr_t begin, std::size_t size) const noexcept override {
    handler::forget_missing_pages(begin, size);
  }
};

}  // namespace

const Implementation& userfault_strategy() noexcept {
  static constinit const UserfaultMonitor instance;
  return instance;
}

const Implementation& userfault_signal_strategy() noexcept {
  static constinit const UserfaultSignal instance;
  return instance;
}

}  // namespace growstack
