// A stack of any subject, one of the library's strategies or a peer's, behind one face: so that a
// measurement is written once and asked of all.
#pragma once

#include <growstack/growth_policy.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>

namespace growstack::compare {

class AnyStack {
 public:
  AnyStack() = default;
  virtual ~AnyStack() = default;
  AnyStack(const AnyStack&) = delete;
  AnyStack& operator=(const AnyStack&) = delete;

  /// Where it starts, and the lowest address that code on it may use. Known from the start, except
  /// for a thread's own stack (glibc_thread): there only while body runs, and before that 0.
  [[nodiscard]] virtual std::uintptr_t base() const = 0;
  [[nodiscard]] virtual std::uintptr_t floor() const = 0;
  /// Lowest committed address now; floor() where nobody keeps one.
  [[nodiscard]] virtual std::uintptr_t limit() const { return floor(); }
  /// Bytes below floor() that no code may touch; 0 for a stack without a guard.
  [[nodiscard]] virtual std::size_t guard() const { return 0; }
  /// Bytes from the deepest it ever reached to base(); 0 where nobody keeps count.
  [[nodiscard]] virtual std::size_t high_water() const { return 0; }
  /// Faults that the subject itself saw and grew the stack for.
  [[nodiscard]] virtual std::uint64_t growth_events() const { return 0; }

  /// Runs body there, to its end. What it throws arrives here.
  virtual void run(const std::function<void()>& body) = 0;

  /// Gives everything back that is not needed; nothing runs there. errc::not_supported where there
  /// is no such thing.
  virtual std::error_code trim() { return std::make_error_code(std::errc::not_supported); }
};

struct StackRequest {
  std::size_t reserve = 0;  ///< bytes that may be used
  std::size_t guard = 0;    ///< bytes; peers whose guard is not settable take what they have
  std::optional<std::size_t> initial_commit{};  ///< bytes; none: the subject's default
  GrowthPolicy policy{};                        ///< of the library's own
};

/// Of the subject of that name: a strategy's, or one of the peers glibc_thread,
/// glibc_thread_setstack, boost_fixedsize, boost_protected_fixedsize, boost_pooled_fixedsize.
/// Throws std::system_error, std::invalid_argument, std::bad_alloc.
[[nodiscard]] std::unique_ptr<AnyStack> make_stack(const std::string& subject,
                                                   const StackRequest& request);

}  // namespace growstack::compare
