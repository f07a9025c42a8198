// Which signals are kept, and masks as the kernel has them: one word, one bit for each signal.
#pragma once

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>

namespace growstack::keep {

constexpr int last_signal = 64;

constexpr bool is_signal(int number) noexcept { return 1 <= number && number <= last_signal; }

constexpr std::uint64_t bit(int signal) noexcept {
  return std::uint64_t{1} << static_cast<unsigned>(signal - 1);
}

inline std::uint64_t word(const sigset_t& set) noexcept {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &set, sizeof bits);
  return bits;
}

inline void set_word(sigset_t& set, std::uint64_t bits) noexcept {
  std::memcpy(&set, &bits, sizeof bits);
}

/// Returns the set without these signals.
inline sigset_t without(sigset_t set, std::uint64_t bits) noexcept {
  set_word(set, word(set) & ~bits);
  return set;
}

/// The signals for which the kernel has a handler of ours. Written by keep() and give_back(). A
/// thread that reads a stale value does as it did before install().
extern constinit std::atomic<std::uint64_t> kept;

/// How often SIGSEGV (lower half) and SIGBUS (upper half) were given back. What a thread has noted
/// of its mask before that may be wrong for that signal: its calls have reached the kernel since.
extern constinit std::atomic<std::uint64_t> times_given_back;

/// What is added to `times_given_back` when the signal is given back.
constexpr std::uint64_t one_time_more(int signal) noexcept {
  return std::uint64_t{1} << (signal == SIGBUS ? 32U : 0U);
}

/// Returns the signals that were given back between two values of `times_given_back`.
constexpr std::uint64_t given_back_between(std::uint64_t before, std::uint64_t now) noexcept {
  const std::uint64_t differs = before ^ now;
  return (static_cast<std::uint32_t>(differs) != 0 ? bit(SIGSEGV) : 0) |
         (differs >> 32U != 0 ? bit(SIGBUS) : 0);
}

/// See KeepHandler::changes. Any thread raises it.
extern constinit std::atomic<std::uint64_t> changes;

/// Tells whether the caller is a vfork child: see in_vfork_child() of the handler library.
extern constinit std::atomic<bool (*)()> in_vfork_child;

/// Returns true in a vfork child. Its view would be written into the memory of its parent.
inline bool is_in_vfork_child() noexcept {
  bool (*const ask)() = in_vfork_child.load(std::memory_order_relaxed);
  return ask != nullptr && ask();
}

/// Returns the signals that the caller must not set in the kernel. None in a vfork child: what
/// that sets is for the program that it executes.
inline std::uint64_t kept_here() noexcept {
  const std::uint64_t signals = kept.load(std::memory_order_acquire);
  return signals == 0 || is_in_vfork_child() ? 0 : signals;
}

inline bool is_kept_here(int signal) noexcept {
  return is_signal(signal) && (kept_here() & bit(signal)) != 0;
}

}  // namespace growstack::keep
