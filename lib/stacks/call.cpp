// Running a function on a stack.
#include <growstack/call.hpp>

#include "arenas/arena.hpp"
#include "errors.hpp"
#include "sanitizers.hpp"
#include "stacks/make_ready.hpp"
#include "stacks/stack_access.hpp"

#include <growstack/handler/commit_ahead.hpp>
#include <growstack/handler/machine.hpp>

#include <cerrno>
#include <new>

namespace growstack::detail {
namespace {

/// Marks a stack as running while it exists.
class Running {
 public:
  explicit Running(OpenSlot slot) : marks_(slot.record().marks) {
    if (slot.is_running()) {
      fail(EBUSY, "a call runs on this stack already: use another stack");
    }
    new (&slot.runner()) Runner(Runner::here(reinterpret_cast<std::uintptr_t>(this)));
    marks_.fetch_or(running_mark, std::memory_order_release);
  }
  ~Running() { marks_.fetch_and(~running_mark, std::memory_order_release); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  std::atomic<std::uint32_t>& marks_;
};

/// Commits room for a signal's frame, because a signal without SA_ONSTACK may come at the first
/// instruction on the stack. If the stack is too small for that, it is the caller's choice.
/// GROWSTACK_INITIAL_COMMIT does not prevent this commit: the variable tests what programs assume,
/// and this is what we promise.
void keep_room_for_a_signal(OpenSlot slot) noexcept {
  constexpr std::size_t first_frames = 1024;  // bytes for the switch and for what calls f
  const std::uintptr_t base = slot.base();
  const std::uintptr_t lowest = base - first_frames - handler::signal_frame_bytes();
  if (lowest < slot.record().limit.load(std::memory_order_acquire)) {
    static_cast<void>(handler::commit_ahead(base - 1, lowest));
  }
}

/// What runs on the other stack.
struct Visit {
  void (*body)(void*) noexcept;
  void* argument;
  sanitizers::StackVisit stacks{};

  static void run(void* given) noexcept {
    Visit& visit = *static_cast<Visit*>(given);
    visit.stacks.entered();
    visit.body(visit.argument);
    visit.stacks.leave();
  }
};

}  // namespace

void run_on(Stack& stack, void (*body)(void*) noexcept, void* argument) {
  const OpenSlot slot = StackAccess::slot(stack);
  make_ready(slot);
  keep_room_for_a_signal(slot);
  const Running running(slot);
  Visit visit{.body = body, .argument = argument};
  visit.stacks.enter(slot.floor(), slot.base() - slot.floor());
  handler::call_on_stack(reinterpret_cast<void*>(slot.base_of_frames()), Visit::run, &visit);
  visit.stacks.left();
}

}  // namespace growstack::detail
