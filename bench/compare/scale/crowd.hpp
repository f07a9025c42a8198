// Very many stacks of one subject that are all there at once, each of them entered and left
// waiting.
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

  /// One more. Throws what keeps it from being made.
  virtual void add() = 0;

  /// The lowest address that code on this one may use; the guard, if there is one, lies right
  /// below.
  [[nodiscard]] virtual std::uintptr_t floor(std::size_t index) const = 0;
  /// Whether its maker promises guards.
  [[nodiscard]] virtual bool is_guarded() const { return true; }

  /// Runs it on this one, and leaves it waiting. It must not throw. Throws std::logic_error where
  /// that cannot be done.
  virtual void run(std::size_t index, const std::function<void()>& errand);
};

struct CrowdRequest {
  std::size_t most =
      0;  ///< stacks; what is needed to keep them is there, and resident, from the start
  std::size_t reserve = 0;  ///< bytes of each
  std::size_t guard = 0;    ///< bytes; peers of Boost.Context take what they have
};

/// Of a strategy, from a StackPool, or of a peer (pool_subject.hpp).
[[nodiscard]] std::unique_ptr<Crowd> make_crowd(const std::string& subject,
                                                const CrowdRequest& request);

}  // namespace growstack::compare
