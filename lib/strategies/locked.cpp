// locked: for code that may not wait for a page fault. Every page of the stack is in physical
// memory from the start and stays there (mlock2). With StackOptions::lock_on_fault it is there from
// its first touch on.
#include "errors.hpp"
#include "memory/vm.hpp"
#include "strategies/always_committed.hpp"

#include <growstack/handler/failed_call.hpp>

#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>

namespace growstack {
namespace {

constexpr StrategyDescription locked{
    .strategy = Strategy::locked,
    .name = "locked",
    .description = "prefaulted and locked in memory: no page fault while it runs",
    .least_kernel = "5.9",
    .trims = false,
    .locks_memory = true};

class Locked final : public AlwaysCommitted {
 public:
  constexpr Locked() noexcept : AlwaysCommitted(locked) {}

  void check(const StackOptions& options) const override {
    rlimit allowed{};
    getrlimit(RLIMIT_MEMLOCK, &allowed);
    // A process with CAP_IPC_LOCK may exceed the limit, and only mlock itself knows whether this
    // process may. For a process that may not, the message here is better than the kernel's errno.
    if (allowed.rlim_cur == RLIM_INFINITY || options.reserve <= allowed.rlim_cur) {
      return;
    }
    if (const int error = try_to_lock(options.reserve); error != 0) {
      fail(ENOMEM, "locked: " + in_bytes(options.reserve) + " are to be locked: " +
                       refusal_of(error) + ": RLIMIT_MEMLOCK is " + in_bytes(allowed.rlim_cur) +
                       ": raise it (ulimit -l), reserve less, or give the program CAP_IPC_LOCK");
    }
  }

  [[nodiscard]] std::string explain(int error) const override {
    return (error == EPERM || error == EAGAIN) && refusal_of(error).starts_with("mlock2: ")
               ? "the kernel locks no more memory for this process: RLIMIT_MEMLOCK is reached "
                 "(raise it, ulimit -l, or reserve less), or there is not that much memory, here "
                 "or in the control group"
               : std::string();
  }

  [[nodiscard]] int open(const Bounds& bounds, const Layout&,
                         const StackOptions& options) const noexcept override {
    const std::size_t reserve = bounds.base - bounds.floor;
    int error = vm::commit(bounds.floor, reserve);
    if (error == 0) {
      error = vm::lock(bounds.floor, reserve, options.lock_on_fault);
      if (error != 0) {
        // The kernel reports "no more" as ENOMEM or as EAGAIN. It cannot mean the mapping, which is
        // there.
        errno = error == ENOMEM ? EAGAIN : error;
        error = handler::failed(handler::SystemCall::mlock2);
        static_cast<void>(vm::decommit(bounds.floor, reserve, vm::Pages::small));
      }
    }
    return error;
  }

 private:
  /// Asks the kernel by locking address space that costs nothing: a lock with MLOCK_ONFAULT counts
  /// like any other lock, and touches no page.
  static int try_to_lock(std::size_t bytes) noexcept {
    void* const probe =
        mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (probe == MAP_FAILED) {
      return handler::failed(handler::SystemCall::mmap);
    }
    const auto begin = reinterpret_cast<std::uintptr_t>(probe);
    const int error = vm::lock(begin, bytes, true);
    vm::release_or_uncharge(begin, bytes);
    return error;
  }
};

constinit const Locked instance;

}  // namespace

template <>
const Implementation& implementation_of<Strategy::locked>() noexcept {
  return instance;
}

}  // namespace growstack
