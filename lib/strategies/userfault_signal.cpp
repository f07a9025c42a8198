// userfault_signal: userfaultfd with UFFD_FEATURE_SIGBUS. The kernel raises SIGBUS at a missing
// page, and the fault handler fills it. A guard needs no mapping: pages that are never filled are
// one.
#include "errors.hpp"
#include "memory/vm.hpp"
#include "strategies/guard.hpp"
#include "strategies/userfault_filled.hpp"

#include <growstack/handler/handler.hpp>

#include <atomic>
#include <csignal>
#include <string>

namespace growstack {
namespace {

constexpr StrategyDescription userfault_signal{
    .strategy = Strategy::userfault_signal,
    .name = "userfault_signal",
    .description = "userfaultfd: the fault handler fills pages at SIGBUS; no mapping a stack",
    .least_kernel = "5.9",
    .event = GrowthEvent::bus_error,
    .needs_thread = true,
    .largest_factor = 2,  // what is committed is filled: too much of it would be memory
    .automatic_rank = 1};

/// The errno with which the kernel refused the markers of the last guard, or 0. Written by who
/// makes a stack; read for messages.
constinit std::atomic<int> error_of_markers{0};

class UserfaultSignal final : public UserfaultFilled {
 public:
  constexpr UserfaultSignal() noexcept
      : UserfaultFilled(userfault_signal, handler::UserfaultKind::signal) {}

  void start() const override {
    if (const int error = handler::install(SIGBUS); error != 0) {
      fail_for_thread(error, "userfault_signal: cannot install the SIGBUS handler", 0);
    }
    UserfaultFilled::start();
  }

  [[nodiscard]] std::string missing_here() const override {
    const int error = error_of_markers.load(std::memory_order_relaxed);
    return error == 0
               ? std::string()
               : "its guards have no markers (madvise: " + name_of_errno(error) +
                     "; Linux 6.13 has them): they do not hold in a child of a bare clone(2)";
  }

  [[nodiscard]] int prepare(const Bounds& bounds, const Layout& layout) const noexcept override {
    const int error = watch_in_pieces(bounds, bounds.guard, layout);
    if (error == 0) {
      // Pages that are never filled are a guard already, as long as somebody watches them. If the
      // kernel has markers, these also hold in a child that closes our descriptor, or that was made
      // by a bare clone(2), so that nothing of ours ran in it.
      note_markers(install_guard(bounds, vm::Pages::small));
    }
    return error;
  }

  [[nodiscard]] int open_in_row(const Bounds& lowest, std::uint32_t count, const Layout& layout,
                                const StackOptions& options) const noexcept override {
    const std::size_t size = row_size(lowest, count, layout);
    if (!are_markers_all(layout)) {
      return ENOTSUP;
    }
    int error = watch(lowest.guard, size);
    if (error == 0) {
      mark_guards(lowest, count, layout);
      error = fill_in_row(lowest, count, layout, options);
      if (error != 0) {
        static_cast<void>(vm::decommit(lowest.guard, size, vm::Pages::small));
      }
    }
    return error;
  }

  /// Discards every page: between two stacks all pages of the slot are missing. None is forbidden,
  /// also if the program forbade it.
  [[nodiscard]] int close(const handler::SlotRecord& slot, const Layout&) const noexcept override {
    const std::uintptr_t floor = slot.floor.load(std::memory_order_relaxed);
    const std::size_t size = slot.base.load(std::memory_order_relaxed) - floor;
    const int error = vm::discard(floor, size);
    return error == 0 ? vm::commit(floor, size) : error;
  }

  void forget(std::uintptr_t begin, std::size_t size) const noexcept override {
    handler::forget_missing_pages(begin, size);
  }

 private:
  /// As far as the kernel has markers: see prepare().
  static void mark_guards(const Bounds& lowest, std::uint32_t count,
                          const Layout& layout) noexcept {
    vm::MarkerList markers;
    int error = 0;
    for (std::uint32_t index = 0; error == 0 && index < count; ++index) {
      error = markers.install(above(lowest, index, layout).guard, layout.guard);
    }
    note_markers(error == 0 ? markers.finish() : error);
  }

  static void note_markers(int error) noexcept {
    error_of_markers.store(error, std::memory_order_relaxed);
  }

  [[nodiscard]] int fill_in_row(const Bounds& lowest, std::uint32_t count, const Layout& layout,
                                const StackOptions& options) const noexcept {
    int error = 0;
    for (std::uint32_t index = 0; error == 0 && index < count; ++index) {
      error = open(above(lowest, index, layout), layout, options);
    }
    return error;
  }
};

constinit const UserfaultSignal instance;

}  // namespace

template <>
const Implementation& implementation_of<Strategy::userfault_signal>() noexcept {
  return instance;
}

}  // namespace growstack
