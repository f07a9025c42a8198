// A process that may die of what it tries, and what is known about it nevertheless: how it ended,
// what it said, and what it wrote to shared memory.
#pragma once

#include "parts/errors.hpp"

#include <nlohmann/json.hpp>

#include <sys/mman.h>

#include <chrono>
#include <functional>
#include <new>
#include <string>
#include <type_traits>

namespace growstack::compare::promises {

/// How a worker ended.
struct Fate {
  nlohmann::json said{};  ///< what its body returned
  std::string failure{};  ///< or the message of what its body threw
  std::string killer{};   ///< or the name of the signal that killed it, "SIGSEGV"
  bool hung = false;      ///< or that it did not end in time and was killed for that
  int exit_code = 0;
  std::string errors{};  ///< its standard error

  [[nodiscard]] bool survived() const {
    return !hung && killer.empty() && failure.empty() && exit_code == 0;
  }
  /// Returns how a worker ended that did not survive: "SIGSEGV", "hangs", "fails".
  [[nodiscard]] std::string word() const;
};

/// Forks, runs body in the child, and waits for its end. Unless fork itself is what is tried, the
/// calling process must not have used the library yet.
[[nodiscard]] Fate in_worker(const std::function<nlohmann::json()>& body,
                             std::chrono::milliseconds patience = std::chrono::seconds(5));

using bench::require;

/// Makes a value that stays when the worker that writes it dies. It is never freed, because this
/// process ends with the experiment.
template <class T>
[[nodiscard]] T& shared() {
  static_assert(std::is_trivially_destructible_v<T>);
  void* const memory =
      mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  require(memory != MAP_FAILED, "mmap");
  return *new (memory) T{};
}

}  // namespace growstack::compare::promises
