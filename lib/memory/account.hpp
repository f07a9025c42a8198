// Committed bytes, counted and bounded: those of a pool, and those of the process.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace growstack {

/// Any thread, signal handlers included.
class Account {
 public:
  static constexpr std::size_t unlimited = SIZE_MAX;

  /// What is charged here is charged to `whole`, too. `option` is how its budget is set, for error
  /// messages.
  constexpr Account(const char* option, Account* whole, std::size_t budget = unlimited) noexcept
      : option_(option), whole_(whole), budget_(budget) {}

  /// All of it or nothing.
  [[nodiscard]] bool charge(std::size_t bytes) noexcept {
    std::size_t used = used_.load(std::memory_order_relaxed);
    do {
      const std::size_t budget = budget_.load(std::memory_order_relaxed);
      if (used > budget || bytes > budget - used) {
        return false;
      }
    } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
    if (whole_ != nullptr && !whole_->charge(bytes)) {
      used_.fetch_sub(bytes, std::memory_order_relaxed);
      return false;
    }
    return true;
  }

  void credit(std::size_t bytes) noexcept {
    used_.fetch_sub(bytes, std::memory_order_relaxed);
    if (whole_ != nullptr) {
      whole_->credit(bytes);
    }
  }

  [[nodiscard]] std::size_t used() const noexcept { return used_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t budget() const noexcept {
    return budget_.load(std::memory_order_relaxed);
  }
  void set_budget(std::size_t bytes) noexcept { budget_.store(bytes, std::memory_order_relaxed); }

  /// What may still be charged, as of now.
  [[nodiscard]] std::size_t left() const noexcept {
    const std::size_t here = budget() - std::min(budget(), used());
    return whole_ == nullptr ? here : std::min(here, whole_->left());
  }

  /// Of the two budgets the one that leaves less, and what to do about it: for a message. Not from
  /// a signal handler.
  [[nodiscard]] std::string explanation() const;

 private:
  const char* option_;
  Account* whole_;
  std::atomic<std::size_t> used_{0};
  std::atomic<std::size_t> budget_;
};

/// Every stack of the process.
[[nodiscard]] Account& process_account() noexcept;

}  // namespace growstack
