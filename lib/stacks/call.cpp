// Running a function on a stack.
#include <growstack/call.hpp>

#include "arenas/arena.hpp"
#include "errors.hpp"
#include "sanitizers.hpp"
#include "stacks/stack_access.hpp"
#include "strategies/start_handler.hpp"

#include <growstack/attach.hpp>
#include <growstack/handler/commit_ahead.hpp>
#include <growstack/handler/machine.hpp>

#include <boost/context/fiber.hpp>

#include <cerrno>

namespace growstack::detail {
namespace {

/// The allocator that Boost.Context wants to give the stack back to. It does nothing, because the
/// stack belongs to a Stack.
struct BorrowedStack {
  [[nodiscard]] boost::context::stack_context allocate() const noexcept { return {}; }
  void deallocate(boost::context::stack_context&) const noexcept {}
};

/// Marks a stack as running while it exists.
class Running {
 public:
  explicit Running(OpenSlot slot) : marks_(slot.record().marks) {
    if (slot.is_running()) {
      fail(EBUSY, "a call runs on this stack already: use another stack");
    }
    slot.tenant().runner = Runner::here(reinterpret_cast<std::uintptr_t>(this));
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
void keep_room_for_a_signal(const Stack& stack) noexcept {
  constexpr std::size_t first_frames = 1024;  // bytes for the switch and for what calls f
  const auto base = reinterpret_cast<std::uintptr_t>(stack.base());
  static_cast<void>(
      handler::commit_ahead(base - 1, base - first_frames - handler::signal_frame_bytes()));
}

}  // namespace

void run_on(Stack& stack, void (*body)(void*) noexcept, void* argument) {
  attach_thread();
  look_at_handler(StackAccess::slot(stack).implementation());
  keep_room_for_a_signal(stack);
  const Running running(StackAccess::slot(stack));

  namespace context = boost::context;
  context::stack_context whole;
  whole.sp = stack.base();
  whole.size = stack.reserved();
  sanitizers::StackVisit visit;
  context::fiber there(std::allocator_arg, context::preallocated(whole.sp, whole.size, whole),
                       BorrowedStack{}, [&](context::fiber&& back) {
                         visit.entered();
                         handler::call_outermost(body, argument);
                         visit.leave();
                         return std::move(back);
                       });
  visit.enter(reinterpret_cast<std::uintptr_t>(stack.floor()), stack.reserved());
  there = std::move(there).resume();
  visit.left();
}

}  // namespace growstack::detail
