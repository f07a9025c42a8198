// The seam between production code and the explorer. After this header,
//
//     #include "explorer/modelled.hpp"
//     #include "fault/request.cpp"
//
// compiles the real source once more, in namespace `modelled`. There, std::atomic and std::mutex
// are the explorer's, and so are the system calls that threads wait and talk with: names are looked
// up in `modelled` first. Nothing of that reaches the library. What a source leaves undefined, the
// model defines in `modelled`.
//
// A program has one file that does this, because two would define the same names. It does not link
// what it models.
#pragma once

#include "explorer/atomic.hpp"
#include "explorer/explorer.hpp"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <type_traits>

namespace modelled {

namespace explorer = ::growstack::explorer;

namespace std {
using namespace ::std;  // what is not below

template <class T>
using atomic = explorer::Atomic<T>;
template <class T>
using atomic_ref = explorer::AtomicRef<T>;
using mutex = explorer::Mutex;
inline void atomic_thread_fence(memory_order order) {
  explorer::fence(order, explorer::Weight::ordinary);
}
inline void atomic_signal_fence(memory_order order) {
  explorer::fence(order, explorer::Weight::light);
}
}  // namespace std

/// The arguments of a system call, as far as they are numbers or pointers.
using Arguments = ::std::array<long, 6>;

/// What the model answers: the result of the call, or -1 with errno. Of all calls but futex(2),
/// membarrier(2), nanosleep(2) and gettid(2), which the explorer answers.
using AnswerCall = ::std::function<long(long number, const Arguments& arguments)>;
inline AnswerCall answer_call;

/// Which threads' waits with a timeout may end by it: a bit for each.
inline unsigned timeouts_of = ~0U;
/// How many of them of one thread may.
inline unsigned most_timeouts = ~0U;
/// How many of each thread did in this execution. set_up() sets it to 0.
inline ::std::array<unsigned, 8> timeouts_fired{};
/// How many seconds each thread wanted to wait at most, the last time that it waited with a
/// timeout.
inline ::std::array<long, 8> patience{};

/// Whether the kernel has membarrier(2).
inline bool has_membarrier = true;

/// The thread ids of a model's threads begin here.
inline constexpr long first_thread_id = 100;

[[nodiscard]] long answer_system_call(long number, const Arguments& arguments);

template <class T>
[[nodiscard]] long as_argument(T value) noexcept {
  if constexpr (::std::is_null_pointer_v<T>) {
    return 0;
  } else if constexpr (::std::is_pointer_v<T>) {
    return reinterpret_cast<long>(value);
  } else {
    return static_cast<long>(value);
  }
}

template <class... T>
long syscall(long number, T... arguments) {
  return answer_system_call(number, Arguments{as_argument(arguments)...});
}

inline int sched_yield() noexcept {
  explorer::yield();
  return 0;
}

}  // namespace modelled

// From here on, the library's own namespace is the model's.
#define growstack modelled
