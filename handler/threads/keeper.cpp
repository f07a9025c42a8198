#include "threads/keeper.hpp"

#include "anywhere/futex.hpp"

#include <chrono>

namespace growstack::handler {

constinit Keeper the_keeper;

int Keeper::prepare(int /*userfault*/) noexcept {
  may_end_.store(0, std::memory_order_relaxed);
  return 0;
}

void Keeper::run(int /*userfault*/) noexcept {
  while (may_end_.load(std::memory_order_acquire) == 0) {
    futex_wait(may_end_, 0, std::chrono::hours(24));
  }
}

bool Keeper::ask_to_end() noexcept {
  may_end_.store(1, std::memory_order_release);
  futex_wake(may_end_);
  return true;
}

}  // namespace growstack::handler
