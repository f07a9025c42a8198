// Very many stacks of one subject that exist at once. Each of them was entered and waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace growstack::compare {

class Crowd {
 public:
  Crowd() = default;
  virtual ~Crowd() = default;
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;

  /// Makes and enters one more stack. Throws what keeps it from being made.
  virtual void add() = 0;

  /// Returns the lowest address that code on this stack may use. The guard lies right below.
  [[nodiscard]] virtual std::uintptr_t floor(std::size_t index) const = 0;

  /// Runs the errand on this stack, and leaves the stack waiting. The errand must not throw. Throws
  /// std::logic_error if the subject cannot do that.
  virtual void run(std::size_t index, const std::function<void()>& errand);
};

struct CrowdRequest {
  std::size_t most = 0;     ///< stacks; the memory to keep track of them is resident from the start
  std::size_t reserve = 0;  ///< bytes of each
  std::size_t guard = 0;    ///< bytes; Boost's allocators have their own
};

/// Makes a crowd of a strategy, whose stacks come from a StackPool, or of a peer (pools.hpp).
[[nodiscard]] std::unique_ptr<Crowd> make_crowd(const std::string& subject,
                                                const CrowdRequest& request);

/// Returns whether the subject promises a guard below each stack.
[[nodiscard]] bool promises_guards(const std::string& subject);

}  // namespace growstack::compare
