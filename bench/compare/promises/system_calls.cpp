// Promises to system calls: a fault in the kernel never reaches a fault handler in the program. Who
// makes the memory, then, that a system call writes to before anybody has touched it?
#include "promises/machine.hpp"
#include "promises/promise.hpp"

#include <growstack/handler/pages.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace growstack::compare::promises {
namespace {

constexpr char pattern = 'x';

/// How far the stack pointer of a bare call is below the memory that the call is about.
constexpr std::size_t rest_of_frame = 512;

std::uintptr_t untouched(const AnyStack& stack) { return handler::page_down(stack.base() - depth); }

// ---- where data comes from: a descriptor that holds some and does not wait for more -------------

/// Writes that many bytes to `to`. Returns `from`.
int filled(int from, int to, std::size_t bytes) {
  const std::string data(bytes, pattern);
  require(write(to, data.data(), bytes) == static_cast<ssize_t>(bytes), "write");
  return from;
}

int full_pipe(std::size_t bytes) {
  std::array<int, 2> ends{};
  require(pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) == 0, "pipe2");
  return filled(ends[0], ends[1], bytes);
}

template <int type>
int full_socket(std::size_t bytes) {
  std::array<int, 2> ends{};
  require(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0,
          "socketpair");
  return filled(ends[0], ends[1], bytes);
}

int full_eventfd(std::size_t bytes) {
  const int descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  require(descriptor >= 0, "eventfd");
  return filled(descriptor, descriptor, bytes);
}

// ---- bare calls ---------------------------------------------------------------------------------

/// A system call that fills memory.
struct Filler {
  long number;
  int (*source)(std::size_t bytes);  ///< nullptr if the call needs none
  std::size_t bytes;
};

constexpr Filler pipe_read{SYS_read, full_pipe, 64 * kib};
constexpr Filler stream_read{SYS_read, full_socket<SOCK_STREAM>, 4 * kib};
constexpr Filler datagram_receive{SYS_recvfrom, full_socket<SOCK_DGRAM>, 4 * kib};
constexpr Filler eventfd_read{SYS_read, full_eventfd, sizeof(std::uint64_t)};
constexpr Filler random_bytes{SYS_getrandom, nullptr, 256};

/// Makes the system call. If it fails, calls a function, which pushes its return address below the
/// buffer, and makes the system call once more. The worker says
/// {"wanted": bytes, "first", "second": bytes or -errno, "right": the data arrived}.
template <const Filler& call>
Fate try_call(const Question& question) {
  return on_stack(question, [](AnyStack& stack) -> nlohmann::json {
    const int source = call.source == nullptr ? -1 : call.source(call.bytes);
    const std::uintptr_t buffer = untouched(stack);
    const auto wanted = static_cast<long>(call.bytes);
    const auto make_call = [&] {
      const std::uintptr_t below = buffer - rest_of_frame;
      return call.source == nullptr
                 ? syscall_at(below, call.number, buffer, call.bytes)
                 : syscall_at(below, call.number, static_cast<std::uintptr_t>(source), buffer,
                              call.bytes);
    };
    const long first = make_call();
    long second = first;
    if (first != wanted) {
      call_at(buffer - 2 * rest_of_frame, [] {});
      second = make_call();
    }
    const bool right =
        second == wanted &&
        (call.source == nullptr || *reinterpret_cast<const char*>(buffer + wanted - 1) == pattern);
    return {{"wanted", wanted}, {"first", first}, {"second", second}, {"right", right}};
  });
}

/// Waits for a value that the word does not have: EAGAIN if the kernel can read the word.
Fate wait_on_futex(const Question& question) {
  return on_stack(question, [](AnyStack& stack) {
    constexpr std::uintptr_t other_value = 12345;
    const std::uintptr_t word = untouched(stack);
    return syscall_at(word - rest_of_frame, SYS_futex, word, FUTEX_WAIT_PRIVATE, other_value);
  });
}

/// Has a frame of its own that nothing touches but the call of read().
[[gnu::noinline]] ssize_t read_into_fresh_frame(int source) {
  char frame[depth];  // uninitialised on purpose
  const ssize_t bytes = read(source, frame, pipe_read.bytes);
  asm volatile("" : : "r"(frame) : "memory");
  return bytes < 0 ? -errno : bytes;
}

Fate read_by_libc(const Question& question) {
  return on_stack(question, [](AnyStack&) -> nlohmann::json {
    const ssize_t bytes = read_into_fresh_frame(full_pipe(pipe_read.bytes));
    return {{"wanted", pipe_read.bytes}, {"first", bytes}};
  });
}

// ---- libc's calls into a part of a large frame --------------------------------------------------

/// A frame in which nothing is touched before libc is called, which pushes a return address below
/// it.
template <std::size_t bytes, std::size_t filled>
struct Frame {
  char below[bytes - filled];
  char buffer[filled];
};

/// Fills the upper half of the frame from a file.
template <std::size_t bytes>
[[gnu::noinline]] nlohmann::json read_file_into_frame() {
  Frame<bytes, bytes / 2> frame;  // uninitialised on purpose
  const int file = memfd_create("data", MFD_CLOEXEC);
  require(file >= 0 && ftruncate(file, sizeof frame.buffer) == 0, "memfd_create");
  const ssize_t got = pread(file, frame.buffer, sizeof frame.buffer, 0);
  asm volatile("" : : "r"(&frame) : "memory");
  return {{"wanted", sizeof frame.buffer}, {"first", got < 0 ? -errno : got}};
}

/// Receives a datagram 128 KiB below the top, which is deeper than stacks commit at first.
template <std::size_t bytes>
[[gnu::noinline]] nlohmann::json receive_into_frame() {
  constexpr std::size_t datagram = 2000;
  Frame<bytes, 128 * kib> frame;
  const ssize_t got = recv(full_socket<SOCK_DGRAM>(datagram), frame.buffer, datagram, 0);
  asm volatile("" : : "r"(&frame) : "memory");
  return {{"wanted", datagram}, {"first", got < 0 ? -errno : got}};
}

template <nlohmann::json (*body)()>
Fate in_large_frame(const Question& question) {
  return in_worker([&] {
    constexpr std::size_t reserve = 8 * mib;
    const auto stack = make(question.subject, reserve);
    nlohmann::json said;
    stack->run([&] { said = body(); });
    return said;
  });
}

/// Returns "EFAULT" for -EFAULT, and "12 bytes" for 12.
std::string described(long result) {
  const char* const name = result < 0 ? strerrorname_np(static_cast<int>(-result)) : nullptr;
  return name == nullptr ? fmt::format("{} bytes", result) : name;
}

/// Tells whether the first call brought everything.
Cell whole(const nlohmann::json& said) {
  const long wanted = said.at("wanted");
  const long first = said.at("first");
  if (first == wanted) {
    return yes("whole");
  }
  return first < 0 ? no(described(first))
                   : no("short", fmt::format("{} of {} bytes", first, wanted));
}

/// Tells whether the data that a failed call was to bring came with the next one.
Cell kept(const nlohmann::json& said) {
  const long first = said.at("first");
  if (first == said.at("wanted").get<long>()) {
    return yes("no need");
  }
  return said.at("right").get<bool>()
             ? yes("kept")
             : no("lost", fmt::format("{}, then {}", described(first),
                                      described(said.at("second").get<long>())));
}

Cell readable(const nlohmann::json& said) { return said == -EAGAIN ? yes() : no(described(said)); }

}  // namespace

Family promises_to_system_calls() {
  return {
      "System calls into memory that nobody has touched",
      "A system call gets a buffer 1 MiB below the base, where nothing is committed. The kernel "
      "meets the fault, and raises no signal for it. A bare call is one instruction, made with the "
      "stack pointer below the buffer and nothing pushed. If it fails, the program calls a "
      "function, which pushes a return address below the buffer, and makes the bare call again.",
      {{"read_libc", "libc's read(), 64 KiB of a pipe",
        "A function with a large frame calls read(), and so pushes a return address below the "
        "buffer.",
        read_by_libc, if_survived(whole)},
       {"file_300k", "libc's pread() in a frame of 300 KiB",
        "A function reads a file into the upper half of its frame, of which nothing was touched.",
        in_large_frame<read_file_into_frame<300 * kib>>, if_survived(whole)},
       {"file_1m", "the same, 1 MiB", "The same with a frame of 1 MiB.",
        in_large_frame<read_file_into_frame<1024 * kib>>, if_survived(whole)},
       {"file_4m", "the same, 4 MiB", "The same with a frame of 4 MiB.",
        in_large_frame<read_file_into_frame<4096 * kib>>, if_survived(whole)},
       {"datagram_300k", "libc's recv() in a frame of 300 KiB",
        "A function receives a datagram in its frame, 128 KiB below the top.",
        in_large_frame<receive_into_frame<300 * kib>>, if_survived(whole)},
       {"datagram_1m", "the same, 1 MiB", "The same with a frame of 1 MiB.",
        in_large_frame<receive_into_frame<1024 * kib>>, if_survived(whole)},
       {"datagram_4m", "the same, 4 MiB", "The same with a frame of 4 MiB.",
        in_large_frame<receive_into_frame<4096 * kib>>, if_survived(whole)},
       {"read_raw", "bare read, 64 KiB of a pipe",
        "The bare call returns the whole 64 KiB, or an error.", try_call<pipe_read>,
        if_survived(whole)},
       {"recv_raw", "bare recv, a UNIX datagram",
        "The bare call returns a whole datagram of 4 KiB, or an error.", try_call<datagram_receive>,
        if_survived(whole)},
       {"futex_raw", "bare FUTEX_WAIT",
        "The kernel reads a futex word in the buffer, or returns an error.", wait_on_futex,
        if_survived(readable)},
       {"getrandom_raw", "bare getrandom", "The bare call returns all of 256 bytes, or an error.",
        try_call<random_bytes>, if_survived(whole)},
       {"pipe_kept", "data of the pipe after a failure",
        "The second read brings the data that the first one did not.", try_call<pipe_read>,
        if_survived(kept)},
       {"unix_stream_kept", "data of a UNIX stream after a failure",
        "The second read brings the data that the first one did not.", try_call<stream_read>,
        if_survived(kept)},
       {"unix_datagram_kept", "a UNIX datagram after a failure",
        "The second recvfrom brings the datagram that the first one did not.",
        try_call<datagram_receive>, if_survived(kept)},
       {"eventfd_kept", "an eventfd's count after a failure",
        "The second read brings the count that the first one did not.", try_call<eventfd_read>,
        if_survived(kept)}}};
}

}  // namespace growstack::compare::promises
