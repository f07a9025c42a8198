#include "proofs/failures/trial.hpp"

#include <growstack/handler/handler.hpp>

#include "errors.hpp"
#include "memory/account.hpp"
#include "support/address_of.hpp"
#include "support/descend.hpp"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <exception>
#include <new>
#include <system_error>

namespace growstack::testing {
namespace {

long ask(Ask what, std::uintptr_t one = 0, std::uintptr_t two = 0) {
  return syscall(asking, what, one, two);
}

void tell(Ask what, const char* text) { ask(what, reinterpret_cast<std::uintptr_t>(text)); }

void tell_exception() {
  try {
    throw;
  } catch (const std::system_error& error) {
    tell(Ask::threw, reason_of(error).c_str());
  } catch (const std::bad_alloc&) {
    ask(Ask::bad_alloc);
  } catch (const std::exception& error) {
    tell(Ask::wrong, (std::string("another exception: ") + error.what()).c_str());
  }
}

/// What failed before must not matter to the next stack.
void use_the_next_stack(const Traits& of, const Trial& trial) {
  try {
    Stack next(options_of(of));
    trial.require_guard(next, of);
    go_deep(next, 200 * KiB, trial);
  } catch (const std::exception& error) {
    trial.require(false, std::string("the next stack: ") + error.what());
  }
}

unsigned char pattern_at(const volatile void* address) {
  return static_cast<unsigned char>(reinterpret_cast<std::uintptr_t>(address) * 167 >> 5U);
}

void leave_nothing(const Trial& trial) {
  growstack::trim();
  trial.require(handler::uninstall() == 0, "the handler can be uninstalled");
  trial.require(process_counters().stacks == 0, "no stack is left");
  trial.require(process_counters().arenas == 0, "no arena is left");
  trial.require(process_account().used() == 0,
                "nothing is left charged: " + std::to_string(process_account().used()));
}

}  // namespace

bool Trial::watch(const std::function<void()>& body) const {
  ask(Ask::watch);
  try {
    body();
    ask(Ask::unwatch);
    return true;
  } catch (...) {
    ask(Ask::unwatch);
    tell_exception();
    return false;
  }
}

void Trial::require(bool fulfilled, const std::string& what) const {
  if (!fulfilled) {
    tell(Ask::wrong, what.c_str());
  }
}

bool Trial::succeeded(std::error_code error, const char* function) const {
  if (error) {
    syscall(asking, Ask::returned, error.value(), reinterpret_cast<std::uintptr_t>(function));
  }
  return !error;
}

void Trial::require_given_back(std::uintptr_t begin, std::uintptr_t end,
                               const char* function) const {
  const long bytes = ask(Ask::resident, begin, end);
  require(bytes == 0, std::string(function) + " leaves " + std::to_string(bytes) + " bytes");
}

void Trial::spare() const { ask(Ask::spare); }

void Trial::require_guard(const Stack& stack, const Traits& of) const {
  if (!of.guarded) {
    return;
  }
  const std::uintptr_t floor = address_of(stack.floor());
  require(ask(Ask::guarded, floor - StackOptions{}.guard, floor) == 1, "the stack has its guard");
}

void Trial::wait_for(const std::atomic<bool>& flag) const {
  while (!flag) {
    spare();
    usleep(200);
  }
}

int Trial::status_of(pid_t child) const {
  int status = 0;
  do {
    spare();
  } while (waitpid(child, &status, 0) < 0 && errno == EINTR);
  return status;
}

Contents::Contents(void* begin, std::size_t bytes) noexcept
    : begin_(static_cast<volatile unsigned char*>(begin)), bytes_(bytes) {
  for (std::size_t index = 0; index < bytes_; ++index) {
    begin_[index] = pattern_at(begin_ + index);
  }
}

std::size_t Contents::changed() const noexcept {
  std::size_t count = 0;
  for (std::size_t index = 0; index < bytes_; ++index) {
    count += begin_[index] == pattern_at(begin_ + index) ? 0 : 1;
  }
  return count;
}

Contents contents_of(const Stack& stack) { return {static_cast<char*>(stack.base()) - KiB, KiB}; }

void run_in_watched_process(WatchedScenario scenario, const Traits& of) {
  const Trial trial;
  try {
    scenario(of, trial);
  } catch (const std::exception& error) {
    trial.require(false, std::string("outside of what is watched: ") + error.what());
  }
  use_the_next_stack(of, trial);
  leave_nothing(trial);
  ask(Ask::census);
  ask(Ask::finished);
}

StackOptions options_of(const Traits& of) {
  return {.reserve = of.locks_memory ? MiB : 4 * MiB, .strategy = of.strategy, .name = "watched"};
}

void go_deep(Stack& stack, std::size_t depth, const Trial& trial) {
  const std::size_t wrong = call(stack, [depth] { return descend(depth); });
  trial.require(wrong == 0, std::to_string(wrong) + " bytes of the stack have changed");
}

}  // namespace growstack::testing
