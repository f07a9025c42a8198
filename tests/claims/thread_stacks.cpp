// The stack of a thread: where it lies, what it costs, and what becomes of it when the thread ends.
//
// Here begins the course. A stack is memory like any other: the kernel maps it, which gives addresses and costs next to
// nothing, and fills a page (4 KiB) with zeros when it is touched for the first time. What is filled is *resident*. Both can
// be seen in /proc/self/smaps, one entry for each mapping: its addresses, its permissions, and how much of it is resident.
#include "claims/claim.hpp"
#include "claims/look.hpp"

#include <pthread.h>

#include <cstring>
#include <functional>

using namespace growstack::testing;

namespace {

/// Runs body() in a thread with a stack of that size, and waits for its end.
void in_thread(std::size_t stack_bytes, const std::function<void()>& body) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, stack_bytes);
  pthread_t thread{};
  const auto run = [](void* argument) -> void* {
    (*static_cast<const std::function<void()>*>(argument))();
    return nullptr;
  };
  REQUIRE(pthread_create(&thread, &attributes, run, const_cast<std::function<void()>*>(&body)) == 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

}  // namespace

CLAIM(1, "P", "A thread's stack is one anonymous mapping of the configured size, with a guard below it.",
      "a thread's stack is one anonymous mapping of the size asked for, with a guard below it") {
  constexpr std::size_t asked = 8 * MiB;
  Mapping stack;
  Mapping below;
  in_thread(asked, [&] {
    const char here = 0;
    stack = mapping_of(&here);
    // The guard is the mapping that ends where the stack begins. Nothing may be done there: a touch is SIGSEGV.
    below = mapping_of(reinterpret_cast<const char*>(stack.begin) - 1);
  });
  CHECK(stack.protection == "rw-p");  // readable, writable, private
  CHECK(below.protection == "---p");
  CHECK(below.size() == page_bytes());  // the default of pthread_attr_setguardsize(3)
  // glibc before 2.35 took the guard out of the size asked for.
  CHECK((stack.size() == asked || stack.size() + below.size() == asked));
  found(Verdict::holds, "{} KiB asked for: {} KiB rw-p, {} KiB ---p", asked / KiB, stack.size() / KiB, below.size() / KiB);
}
