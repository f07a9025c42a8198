#include <growstack/attach.hpp>
#include <growstack/call.hpp>

#include "errors.hpp"
#include "sanitizers.hpp"
#include "stacks/stack_access.hpp"

#include <growstack/handler/commit_ahead.hpp>
#include <growstack/handler/machine.hpp>

#include <boost/context/fiber.hpp>

#include <cerrno>

namespace growstack::detail {
namespace {

/// The stack belongs to a Stack; Boost.Context wants somebody to give it back to.
struct BorrowedStack {
  [[nodiscard]] boost::context::stack_context allocate() const noexcept { return {}; }
  void deallocate(boost::context::stack_context&) const noexcept {}
};

/// Marks a stack as running for the time of a call.
class Running {
 public:
  explicit Running(std::atomic<std::uint32_t>& marks) : marks_(marks) {
    if ((marks_.fetch_or(running_mark, std::memory_order_acquire) & running_mark) != 0) {
      fail(EBUSY, "a call runs on this stack already: use another stack");
    }
  }
  ~Running() { marks_.fetch_and(~running_mark, std::memory_order_release); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  std::atomic<std::uint32_t>& marks_;
};

/// A signal without SA_ONSTACK may come at the first instruction there. A stack too small for that
/// is the caller's choice. GROWSTACK_INITIAL_COMMIT does not spare it: that variable tries what
/// programs assume, and this is what we promise.
void keep_room_for_a_signal(const Stack& stack) noexcept {
  constexpr std::size_t first_frames = 1024;  // of the switch and of what calls f
  const auto base = reinterpret_cast<std::uintptr_t>(stack.base());
  static_cast<void>(
      handler::commit_ahead(base - 1, base - first_frames - handler::signal_frame_bytes()));
}

}  // namespace

void run_on(Stack& stack, void (*body)(void*) noexcept, void* argument) {
  attach_thread();
  keep_room_for_a_signal(stack);
  const Running running(StackAccess::place(stack).slot().marks);

  namespace context = boost::context;
  context::stack_context whole;
  whole.sp = stack.base();
  whole.size = stack.reserved();
  sanitizers::StackVisit visit;
  context::fiber there(std::allocator_arg, context::preallocated(whole.sp, whole.size, whole),
                       BorrowedStack{}, [&](context::fiber&& back) {
                         visit.entered();
                         body(argument);
                         visit.leave();
                         return std::move(back);
                       });
  visit.enter(reinterpret_cast<std::uintptr_t>(stack.floor()), stack.reserved());
  there = std::move(there).resume();
  visit.left();
}

}  // namespace growstack::detail
