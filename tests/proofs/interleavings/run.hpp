// What hooks.cpp asks of the search, and of the record of accesses.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace growstack::interleavings {

inline constexpr std::size_t most_threads = 8;
using Address = std::uintptr_t;

enum class Kind : std::uint8_t { begin, read, write, lock, try_lock, unlock, everywhere };

struct Operation {
  Kind kind = Kind::begin;
  Address object = 0;
  Address code = 0;
};

/// Returns whether a thread of a model runs, and not the code around it.
[[nodiscard]] bool in_model() noexcept;
/// Returns whether a thread of a model runs, also aside.
[[nodiscard]] bool in_thread() noexcept;

/// Comes back when it is the calling thread's turn to make this step.
void step(Operation operation);
/// Returns each number below `count`, in an execution each.
std::size_t choose(std::size_t count);
/// The thread does nothing but wait: it goes on when what it read last was written.
void wait_for_change() noexcept;
/// Returns false if another thread has the mutex.
bool take_mutex(Address mutex) noexcept;
/// Returns false if this thread does not have it.
bool leave_mutex(Address mutex) noexcept;
[[noreturn]] void fail(const char* what, Address object);

/// The running thread's number.
[[nodiscard]] std::size_t this_thread() noexcept;

namespace races {
void begin(std::size_t threads) noexcept;
void read(Address begin, std::size_t bytes);
void write(Address begin, std::size_t bytes);
void free(Address begin, std::size_t bytes);
void check_exists(Address object);
/// The running thread has a copy of all memory, as it is now.
void know_all() noexcept;
void acquire(Address object, std::memory_order order);
void release(Address object, std::memory_order order, bool goes_on);
void fence(std::memory_order order);
}  // namespace races

/// Thread-specific data of the running thread of a model, or of main(): what pthread_setspecific(3)
/// set.
inline constexpr std::size_t most_keys = 16;
[[nodiscard]] std::array<const void*, most_keys>& specific() noexcept;
void run_destructors() noexcept;
void before_fork() noexcept;
void after_fork(bool is_child) noexcept;

/// Gives back what was freed during an execution.
void empty_quarantine() noexcept;

}  // namespace growstack::interleavings
