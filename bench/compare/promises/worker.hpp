// A process that may die of what it tries, and tells nevertheless: its end is watched, and a page
// of memory is shared.
#pragma once

#include "promise.hpp"

#include <nlohmann/json.hpp>

#include <sys/mman.h>

#include <cerrno>
#include <chrono>
#include <functional>
#include <new>
#include <string>
#include <system_error>
#include <type_traits>

namespace growstack::compare::promises {

/// How a worker ended.
struct Fate {
  nlohmann::json said{};  ///< what its body returned
  std::string failure{};  ///< or the message of what it threw
  std::string killer{};   ///< or the signal's name, "SIGSEGV"
  bool hung = false;      ///< or that it did not end, and was killed
  int exit_code = 0;
  std::string errors{};  ///< its standard error

  [[nodiscard]] bool survived() const {
    return !hung && killer.empty() && failure.empty() && exit_code == 0;
  }
  /// Of one that did not: "SIGSEGV", "hangs", "fails".
  [[nodiscard]] std::string word() const;
};

/// Forks, runs body there, and waits. Nothing of the library may run in the calling process yet,
/// unless its fork is the question.
[[nodiscard]] Fate in_worker(const std::function<nlohmann::json()>& body,
                             std::chrono::milliseconds patience = std::chrono::seconds(5));

/// A yes if it survived; otherwise how it ended.
[[nodiscard]] Cell survival(const Fate& fate);

/// A value that the worker writes and that stays when the worker dies.
template <class T>
class Shared {
  static_assert(std::is_trivially_destructible_v<T>);

 public:
  Shared() {
    void* const memory =
        mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
      throw std::system_error(errno, std::generic_category(), "mmap");
    }
    value_ = new (memory) T{};
  }
  ~Shared() { munmap(value_, sizeof(T)); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  T& operator*() const noexcept { return *value_; }
  T* operator->() const noexcept { return value_; }

 private:
  T* value_;
};

}  // namespace growstack::compare::promises
