// std::atomic, std::mutex and the rest, as a model has them. Each is as large as the real one and
// all zeros is the value 0, so that records that production code lays over mapped memory work.
#pragma once

#include "run.hpp"

#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace growstack::explorer {

template <class T>
[[nodiscard]] std::uint64_t to_word(T value) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, &value, sizeof value);
  return word;
}

template <class T>
[[nodiscard]] T from_word(std::uint64_t word) noexcept {
  T value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

/// Returns the order of a compare-and-swap that fails.
[[nodiscard]] constexpr std::memory_order when_it_fails(std::memory_order order) noexcept {
  return order == std::memory_order_acq_rel   ? std::memory_order_acquire
         : order == std::memory_order_release ? std::memory_order_relaxed
                                              : order;
}

/// The operations on memory at `at`, which Atomic and AtomicRef share.
template <class T>
class AtomicOperations {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);

 public:
  using Order = std::memory_order;

  static T load(const T* at, Order order) {
    return from_word<T>(explorer::load(object(at), order));
  }
  static void store(const T* at, T value, Order order) {
    explorer::store(object(at), to_word(value), order);
  }
  template <class Next>
  static T update(const T* at, Order order, Next next) {
    return from_word<T>(explorer::change(object(at), [&](std::uint64_t found) {
      return Change{true, to_word<T>(next(from_word<T>(found))), order};
    }));
  }
  static bool compare_exchange(const T* at, T& expected, T desired, Order success, Order failure) {
    const std::uint64_t wanted = to_word(expected);
    const std::uint64_t seen = explorer::change(object(at), [&](std::uint64_t found) {
      const bool swaps = found == wanted;
      return Change{swaps, to_word(desired), swaps ? success : failure};
    });
    expected = from_word<T>(seen);
    return seen == wanted;
  }

 private:
  static Object object(const T* at) noexcept { return {const_cast<T*>(at), sizeof(T)}; }
};

/// The members that std::atomic and std::atomic_ref have in common.
template <class Self, class T>
class AtomicMembers {
  using Operations = AtomicOperations<T>;
  using Order = std::memory_order;
  static constexpr Order strongest = std::memory_order_seq_cst;
  template <class D>
  static T sum(T found, D more) noexcept {
    if constexpr (std::is_pointer_v<T>) {
      return found + more;
    } else {
      return static_cast<T>(found + static_cast<T>(more));
    }
  }
  template <class D>
  static T difference(T found, D less) noexcept {
    if constexpr (std::is_pointer_v<T>) {
      return found - less;
    } else {
      return static_cast<T>(found - static_cast<T>(less));
    }
  }
  [[nodiscard]] const T* at() const noexcept { return static_cast<const Self*>(this)->place(); }

 public:
  using value_type = T;
  static constexpr bool is_always_lock_free = true;
  [[nodiscard]] bool is_lock_free() const noexcept { return true; }

  T load(Order order = strongest) const noexcept { return Operations::load(at(), order); }
  operator T() const noexcept { return load(); }
  void store(T value, Order order = strongest) const noexcept {
    Operations::store(at(), value, order);
  }
  T operator=(T value) const noexcept {
    store(value);
    return value;
  }
  T exchange(T value, Order order = strongest) const noexcept {
    return Operations::update(at(), order, [&](T) { return value; });
  }
  bool compare_exchange_strong(T& expected, T desired, Order success,
                               Order failure) const noexcept {
    return Operations::compare_exchange(at(), expected, desired, success, failure);
  }
  bool compare_exchange_strong(T& expected, T desired, Order order = strongest) const noexcept {
    return compare_exchange_strong(expected, desired, order, when_it_fails(order));
  }
  /// Never fails without a reason.
  bool compare_exchange_weak(T& expected, T desired, Order success, Order failure) const noexcept {
    return compare_exchange_strong(expected, desired, success, failure);
  }
  bool compare_exchange_weak(T& expected, T desired, Order order = strongest) const noexcept {
    return compare_exchange_strong(expected, desired, order);
  }

  template <class D>
  T fetch_add(D more, Order order = strongest) const noexcept {
    return Operations::update(at(), order, [&](T found) { return sum(found, more); });
  }
  template <class D>
  T fetch_sub(D less, Order order = strongest) const noexcept {
    return Operations::update(at(), order, [&](T found) { return difference(found, less); });
  }
  T fetch_or(T bits, Order order = strongest) const noexcept {
    return Operations::update(at(), order, [&](T found) { return static_cast<T>(found | bits); });
  }
  T fetch_and(T bits, Order order = strongest) const noexcept {
    return Operations::update(at(), order, [&](T found) { return static_cast<T>(found & bits); });
  }
  T fetch_xor(T bits, Order order = strongest) const noexcept {
    return Operations::update(at(), order, [&](T found) { return static_cast<T>(found ^ bits); });
  }
  T operator++() const noexcept { return sum(fetch_add(1), 1); }
  T operator++(int) const noexcept { return fetch_add(1); }
  T operator--() const noexcept { return difference(fetch_sub(1), 1); }
  T operator--(int) const noexcept { return fetch_sub(1); }
  template <class D>
  T operator+=(D more) const noexcept {
    return sum(fetch_add(more), more);
  }
  template <class D>
  T operator-=(D less) const noexcept {
    return difference(fetch_sub(less), less);
  }
  T operator|=(T bits) const noexcept { return static_cast<T>(fetch_or(bits) | bits); }
  T operator&=(T bits) const noexcept { return static_cast<T>(fetch_and(bits) & bits); }
};

template <class T>
class Atomic : public AtomicMembers<Atomic<T>, T> {
 public:
  constexpr Atomic() noexcept : value_() {}
  constexpr Atomic(T value) noexcept : value_(value) {}
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;
  using AtomicMembers<Atomic<T>, T>::operator=;

 private:
  friend AtomicMembers<Atomic<T>, T>;
  [[nodiscard]] const T* place() const noexcept { return &value_; }

  // As strictly aligned as the real one.
  alignas(sizeof(T)) T value_;
};

template <class T>
class AtomicRef : public AtomicMembers<AtomicRef<T>, T> {
 public:
  explicit AtomicRef(T& object) noexcept : object_(&object) {}
  AtomicRef(const AtomicRef&) noexcept = default;
  AtomicRef& operator=(const AtomicRef&) = delete;
  using AtomicMembers<AtomicRef<T>, T>::operator=;

 private:
  friend AtomicMembers<AtomicRef<T>, T>;
  [[nodiscard]] const T* place() const noexcept { return object_; }

  T* object_;
};

/// A mutex. A thread that locks it twice waits for ever, which is a fault.
class Mutex {
 public:
  constexpr Mutex() noexcept = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() noexcept {
    if (!in_model()) {
      held_ = 1;
      return;
    }
    change_when(
        object(), [](std::uint64_t found) { return found == 0; },
        [](std::uint64_t) {
          return Change{true, 1, std::memory_order_acquire};
        });
  }
  [[nodiscard]] bool try_lock() noexcept {
    return change(object(), [](std::uint64_t found) {
             return Change{found == 0, 1,
                           found == 0 ? std::memory_order_acquire : std::memory_order_relaxed};
           }) == 0;
  }
  void unlock() noexcept { store(object(), 0, std::memory_order_release); }

 private:
  [[nodiscard]] Object object() noexcept { return {&held_, sizeof held_}; }

  std::uint64_t held_ = 0;
};

/// Memory that is no atomic. Two accesses of which one writes, and which nothing orders, are a
/// fault.
template <class T>
class Plain {
 public:
  constexpr Plain() noexcept : value_() {}
  constexpr Plain(T value) noexcept : value_(value) {}

  operator T() const noexcept {
    access(&value_, Access::read);
    return value_;
  }
  Plain& operator=(T value) noexcept {
    access(&value_, Access::write);
    value_ = value;
    return *this;
  }

 private:
  T value_;
};

}  // namespace growstack::explorer
