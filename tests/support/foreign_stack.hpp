// Stacks that are none of ours: fibers on memory from elsewhere, and threads of a chosen size.
#pragma once

#include "support/scenario.hpp"
#include "support/units.hpp"

#include <boost/context/fiber.hpp>

#include <pthread.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace growstack::testing {

/// Memory of its own, at a chosen address if one is given.
class Memory {
 public:
  explicit Memory(std::size_t size, void* at = nullptr)
      : size_(size),
        begin_(mmap(at, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | (at != nullptr ? MAP_FIXED_NOREPLACE : 0), -1,
                    0)) {
    require(begin_ != MAP_FAILED, "memory for a stack");
  }
  ~Memory() { munmap(begin_, size_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  [[nodiscard]] void* begin() const { return begin_; }
  [[nodiscard]] void* end() const { return static_cast<std::byte*>(begin_) + size_; }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  std::size_t size_;
  void* begin_;
};

/// Runs body() in a fiber whose stack is [begin, end).
template <class Body>
void run_in_fiber(void* begin, void* end, const Body& body) {
  namespace context = boost::context;
  struct Borrowed {
    context::stack_context allocate() { return {}; }
    void deallocate(context::stack_context&) {}
  };
  context::stack_context whole;
  whole.sp = end;
  whole.size =
      static_cast<std::size_t>(static_cast<std::byte*>(end) - static_cast<std::byte*>(begin));
  context::fiber fiber(std::allocator_arg, context::preallocated(end, whole.size, whole),
                       Borrowed{}, [&](context::fiber&& back) {
                         body();
                         return std::move(back);
                       });
  fiber = std::move(fiber).resume();
}
template <class Body>
void run_in_fiber(const Memory& memory, const Body& body) {
  run_in_fiber(memory.begin(), memory.end(), body);
}

/// Runs body() in a thread that nobody has attached, on a stack of this size, or on this memory.
template <class Body>
void run_in_thread(std::size_t size, const Body& body, const Memory* memory = nullptr) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  require((memory != nullptr ? pthread_attr_setstack(&attributes, memory->begin(), size)
                             : pthread_attr_setstacksize(&attributes, size)) == 0,
          "a thread's stack of this size");
  pthread_t thread{};
  const auto run = [](void* of) -> void* {
    (*static_cast<const Body*>(of))();
    return nullptr;
  };
  require(pthread_create(&thread, &attributes, run, const_cast<Body*>(std::addressof(body))) == 0,
          "a thread");
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

}  // namespace growstack::testing
