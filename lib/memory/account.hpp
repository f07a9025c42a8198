// Accounts of committed bytes, each with a budget: one for each pool, and one for the process.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace growstack {

/// Any thread may call any function, also in a signal handler, unless a function says otherwise.
///
/// However many threads charge at once, nobody is charged beyond a budget. The other way round, who
/// asks for bytes that are left gets them, with one exception: two threads ask a whole for more
/// than it has left, each by an account of its own and at the same moment. One of them is then
/// charged to its own account in vain, and until that is taken back a third thread may be refused
/// there.
class Account {
 public:
  static constexpr std::size_t unlimited = SIZE_MAX;

  /// Makes an account that charges everything to `whole` as well (null: to nobody). `option` names
  /// the option that sets the budget, for error messages.
  constexpr Account(const char* option, Account* whole, std::size_t budget = unlimited) noexcept
      : option_(option), whole_(whole), budget_(budget) {}

  /// Charges all of the bytes, or returns false and charges nothing if a budget does not allow it.
  [[nodiscard]] bool charge(std::size_t bytes) noexcept {
    // Asked first, so that what the whole refuses is not charged here for a moment.
    if (whole_ != nullptr && whole_->left() < bytes) {
      return false;
    }
    std::size_t used = used_.load(std::memory_order_relaxed);
    do {
      const std::size_t budget = budget_.load(std::memory_order_relaxed);
      if (bytes > budget - std::min(budget, used)) {
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

  /// Returns how many bytes may still be charged now.
  [[nodiscard]] std::size_t left() const noexcept {
    const std::size_t budget = budget_.load(std::memory_order_relaxed);
    const std::size_t here = budget - std::min(budget, used());
    return whole_ == nullptr ? here : std::min(here, whole_->left());
  }

  /// Returns whether at most a fifth of this budget is used, and at most a fifth of that of the
  /// whole. Only then may idle stacks keep what nobody may need again: a stack that grows cannot
  /// take it from them.
  [[nodiscard]] bool has_plenty() const noexcept {
    constexpr std::size_t part = 5;
    return used() <= budget() / part && (whole_ == nullptr || whole_->has_plenty());
  }

  /// Returns, for a message, which of the two budgets leaves less, and what to do about it. Not
  /// from a signal handler.
  [[nodiscard]] std::string explanation() const;

 private:
  const char* option_;
  Account* whole_;
  std::atomic<std::size_t> used_{0};
  std::atomic<std::size_t> budget_;
};

/// Bytes that are charged to an account, and credited again at the end of this object's life unless
/// they are kept.
class Charge {
 public:
  Charge(Account& account, std::size_t bytes) noexcept
      : account_(account), bytes_(bytes), is_held_(account.charge(bytes)) {}
  ~Charge() {
    if (is_held_) {
      account_.credit(bytes_);
    }
  }
  Charge(const Charge&) = delete;
  Charge& operator=(const Charge&) = delete;

  /// Tells whether the account allowed it.
  [[nodiscard]] bool is_held() const noexcept { return is_held_; }
  /// Leaves the bytes charged.
  void keep() noexcept { is_held_ = false; }

 private:
  Account& account_;
  std::size_t bytes_;
  bool is_held_;
};

/// Returns the account of all stacks of this process.
[[nodiscard]] Account& process_account() noexcept;

}  // namespace growstack
