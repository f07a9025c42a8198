// Where ensure_stack() goes if the running stack has no room.
#include <growstack/ensure_stack.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <system_error>

namespace growstack::detail {
namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20;

/// Smaller ones save nothing, because arenas take address space in pieces of 64 MiB.
constexpr std::size_t least_reserve = 64 * mebibyte;
constexpr std::size_t largest_reserve = 1024 * mebibyte;

/// For the frames between the base of a stack and f.
constexpr std::size_t frames_of_call = std::size_t{16} * 1024;

/// Grows in huge pages, and no fault waits for another thread.
constexpr Strategy strategy = Strategy::in_handler;

/// What the last stack was reserved with. Any thread may lower it, where RLIMIT_AS forbids more.
constinit std::atomic<std::size_t> usual_reserve{largest_reserve};

/// Returns false if there is no memory for a stack of these options.
bool ran(const StackOptions& options, void (*body)(void*) noexcept, void* argument) {
  try {
    call(options, body, argument);
    return true;
  } catch (const std::system_error& error) {  // of call(), because the body throws nothing
    if (error.code().value() != ENOMEM) {
      throw;
    }
    return false;
  }
}

}  // namespace

void run_elsewhere(const StackOptions* given, std::size_t bytes, void (*body)(void*) noexcept,
                   void* argument) {
  const std::size_t least = bytes + std::min(frames_of_call, SIZE_MAX - bytes);
  StackOptions options =
      given != nullptr ? *given : StackOptions{.strategy = strategy, .name = "ensure_stack"};
  if (given == nullptr) {
    options.reserve = std::max(usual_reserve.load(std::memory_order_relaxed), least);
    while (options.reserve > std::max(least, least_reserve)) {
      if (ran(options, body, argument)) {
        return;
      }
      options.reserve = std::max(options.reserve / 4, least);
      if (process_budget() == SIZE_MAX) {  // otherwise that may be what was used up for a while
        usual_reserve.store(std::max(options.reserve, least_reserve), std::memory_order_relaxed);
      }
    }
  }
  options.reserve = std::max(options.reserve, least);
  call(options, body, argument);
}

}  // namespace growstack::detail
