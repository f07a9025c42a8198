// Recipe: stacks that libgc scans (8.2 or newer; write GC_THREADS before <gc/gc.h>).
//
// libgc stops each thread, and scans from its stack pointer to the bottom of its stack. It knows
// one bottom a thread. So whoever moves a thread to another stack must tell the new bottom. What is
// in use of the stack that the thread left must become roots. Both happen under the lock of libgc's
// allocator, without which nobody can begin a collection. So no collection sees a thread half way.
//
// Only what is in use is scanned. So a collection touches no memory that is not committed.
#pragma once

#include <growstack/growstack.hpp>

#define GC_THREADS
#define GC_NO_THREAD_REDIRECTS
#include <gc/gc.h>
#include <gc/gc_mark.h>

#include <utility>

namespace scanned {

/// The part in use of a stack that its thread has left. libgc's lock guards the list of all.
struct LeftStack {
  LeftStack(void* from, void* to) : lowest(from), bottom(to) {}

  void link() {
    next = first;
    place = &first;
    if (next != nullptr) {
      next->place = &next;
    }
    first = this;
  }
  void unlink() const {
    *place = next;
    if (next != nullptr) {
      next->place = place;
    }
  }

  void* lowest;
  void* bottom;
  LeftStack* next = nullptr;
  LeftStack** place = nullptr;  ///< what points to this
  static inline LeftStack* first = nullptr;
};

inline GC_push_other_roots_proc others = nullptr;

/// Makes the left stacks roots. Call it once, after GC_INIT() and before there are threads. (A
/// second call would have the roots pushed without end.)
inline void start() {
  others = GC_get_push_other_roots();
  GC_set_push_other_roots([] {
    for (const LeftStack* each = LeftStack::first; each != nullptr; each = each->next) {
      GC_push_all_eager(each->lowest, each->bottom);
    }
    others();
  });
}

inline void set_bottom(void* bottom) {
  const GC_stack_base base{bottom};
  GC_set_stackbottom(nullptr, &base);  // of the calling thread
}

/// Is called below a frame that holds all registers, so the roots begin at its own frame.
template <class Go>
[[gnu::noinline]] void leave_from_here(Go& go) {
  GC_stack_base mine{};
  GC_get_my_stackbottom(&mine);
  LeftStack here(__builtin_frame_address(0), mine.mem_base);
  GC_alloc_lock();
  here.link();
  go();
  here.unlink();
  set_bottom(mine.mem_base);
  GC_alloc_unlock();
}

/// Runs go(), which goes to another stack and comes back. There the thread begins with Arrived, or
/// goes on in a leave() of its own.
template <class Go>
[[gnu::noinline]] void leave(Go go) {
  __builtin_unwind_init();  // pushes the registers in which objects may be
  leave_from_here(go);
  asm volatile("");  // no tail call: the registers must stay where they were pushed
}

/// Stands first on a stack, and last.
class Arrived {
 public:
  explicit Arrived(const growstack::Stack& stack) {
    set_bottom(stack.base());
    GC_alloc_unlock();
  }
  ~Arrived() { GC_alloc_lock(); }
  Arrived(const Arrived&) = delete;
  Arrived& operator=(const Arrived&) = delete;
};

/// growstack::call() for a thread that libgc knows.
template <class F>
void call(growstack::Stack& stack, F f) {
  leave([&] {
    growstack::call(stack, [&] {
      const Arrived here(stack);
      f();
    });
  });
}

}  // namespace scanned
