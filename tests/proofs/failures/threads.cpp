// Threads whose stack grows, and threads that are attached.
#include <doctest/doctest.h>

#include <growstack/attach.hpp>
#include <growstack/thread.hpp>

#include "proofs/failures/every_failure.hpp"
#include "support/descend.hpp"

#include <atomic>
#include <thread>

using namespace growstack;
using namespace growstack::testing;

namespace {

void joined_thread(const Traits& of, const Trial& trial) {
  { const Stack first(options_of(of)); }
  trial.watch([&] {
    std::size_t wrong = 1;
    Thread thread(options_of(of), [&] { wrong = descend(300 * KiB); });
    thread.join();
    trial.require(wrong == 0, "the stack of the thread is intact");
  });
}

/// The next Thread ends the stack of the one that was detached.
void detached_thread(const Traits& of, const Trial& trial) {
  { const Stack first(options_of(of)); }
  trial.watch([&] {
    static std::atomic<bool> ended;
    static std::size_t wrong;
    ended = false;
    wrong = 1;
    Thread thread(options_of(of), [] {
      wrong = descend(100 * KiB);
      ended = true;
    });
    thread.detach();
    trial.wait_for(ended);
    trial.require(wrong == 0, "the stack of the detached thread is intact");
    std::size_t wrong_next = 1;
    Thread next(options_of(of), [&] { wrong_next = descend(100 * KiB); });
    next.join();
    trial.require(wrong_next == 0, "the stack of the next thread is intact");
  });
  Thread(options_of(of), [] {}).join();
}

/// A thread of somebody else's, attached by hand. What it throws is told by it.
void attached_thread(const Traits& of, const Trial& trial) {
  Stack stack(options_of(of));
  const Stack other(options_of(of));
  const Contents contents = contents_of(other);
  std::thread([&] {
    trial.watch([&] {
      attach_thread();
      go_deep(stack, 300 * KiB, trial);
    });
  }).join();
  trial.require(contents.changed() == 0, "another stack is intact");
  go_deep(stack, 300 * KiB, trial);
}

}  // namespace

FAILURES("a thread", joined_thread);
FAILURES("a detached thread", detached_thread);
FAILURES("an attached thread", attached_thread);
