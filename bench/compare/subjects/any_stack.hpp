// A stack of any subject, behind one interface: a measurement is written once and asked of all
// strategies and peers.
#pragma once

#include <growstack/growth_policy.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <system_error>

namespace growstack::compare {

class AnyStack {
 public:
  AnyStack() = default;
  virtual ~AnyStack() = default;
  AnyStack(const AnyStack&) = delete;
  AnyStack& operator=(const AnyStack&) = delete;

  /// Returns where the stack starts. A thread's own stack (glibc_thread) exists only while a body
  /// runs; before that its base and floor are 0.
  [[nodiscard]] virtual std::uintptr_t base() const = 0;
  /// Returns the lowest address that code may use.
  [[nodiscard]] virtual std::uintptr_t floor() const = 0;
  /// Returns the lowest committed address; floor() if the subject keeps none.
  [[nodiscard]] virtual std::uintptr_t limit() const { return floor(); }
  /// Returns the bytes below floor() that no code may touch; 0 for a stack without a guard.
  [[nodiscard]] virtual std::size_t guard() const { return 0; }
  /// Returns the bytes from base() to the deepest commit so far; 0 if the subject does not count.
  [[nodiscard]] virtual std::size_t high_water() const { return 0; }
  /// Returns how many faults the subject saw and grew the stack for.
  [[nodiscard]] virtual std::uint64_t growth_events() const { return 0; }

  /// Runs body on the stack, to its end. Throws what body throws.
  virtual void run(const std::function<void()>& body) = 0;

  /// Gives back all memory that is not needed; no body may run. Returns errc::not_supported if the
  /// subject has no trim.
  virtual std::error_code trim() { return std::make_error_code(std::errc::not_supported); }
};

struct StackRequest {
  std::size_t reserve = 0;  ///< bytes that may be used
  std::size_t guard = 0;    ///< bytes; a peer whose guard cannot be chosen has its own
  GrowthPolicy policy{};    ///< of strategies
};

/// Makes a stack of the subject of that name, a strategy or a peer that makes stacks (subject.cpp).
/// Throws std::system_error, std::invalid_argument, std::bad_alloc.
[[nodiscard]] std::unique_ptr<AnyStack> make_stack(const std::string& subject,
                                                   const StackRequest& request);

}  // namespace growstack::compare
