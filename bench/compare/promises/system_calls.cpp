// Promises to system calls: a fault in the kernel never reaches a fault handler in the program. Who
// makes the memory, then, that a system call writes to before anybody has touched it?
#include "machine.hpp"
#include "worker.hpp"

#include <growstack/handler/pages.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace growstack::compare::promises {
namespace {

constexpr char pattern = 'x';

[[noreturn]] void fail(const char* call) {
  throw std::system_error(errno, std::generic_category(), call);
}

void require(bool done, const char* call) {
  if (!done) {
    fail(call);
  }
}

void put(int descriptor, std::size_t bytes) {
  const std::string data(bytes, pattern);
  require(write(descriptor, data.data(), bytes) == static_cast<ssize_t>(bytes), "write");
}

// ---- where data comes from: a descriptor that holds some, and does not wait for more ------------

int full_pipe(std::size_t bytes) {
  std::array<int, 2> ends{};
  require(pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) == 0, "pipe2");
  put(ends[1], bytes);
  return ends[0];
}

int full_socket(int type, std::size_t bytes) {
  std::array<int, 2> ends{};
  require(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0,
          "socketpair");
  put(ends[1], bytes);
  return ends[0];
}

int full_stream(std::size_t bytes) { return full_socket(SOCK_STREAM, bytes); }
int full_datagram(std::size_t bytes) { return full_socket(SOCK_DGRAM, bytes); }

int full_eventfd(std::size_t bytes) {
  const int descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  require(descriptor >= 0, "eventfd");
  put(descriptor, bytes);
  return descriptor;
}

/// A system call that fills memory.
struct Filler {
  long number;
  int (*source)(std::size_t bytes);  ///< nullptr: needs none
  std::size_t bytes;
};

constexpr Filler pipe_read{SYS_read, full_pipe, 64 * kib};
constexpr Filler stream_read{SYS_read, full_stream, 4 * kib};
constexpr Filler datagram_receive{SYS_recvfrom, full_datagram, 4 * kib};
constexpr Filler eventfd_read{SYS_read, full_eventfd, sizeof(std::uint64_t)};
constexpr Filler random_bytes{SYS_getrandom, nullptr, 256};

long make_call(const Filler& call, int source, std::uintptr_t buffer) {
  constexpr std::size_t rest_of_frame = 512;
  const std::uintptr_t stack_pointer = buffer - rest_of_frame;
  return call.source == nullptr
             ? syscall_at(stack_pointer, call.number, buffer, call.bytes)
             : syscall_at(stack_pointer, call.number, static_cast<std::uintptr_t>(source), buffer,
                          call.bytes);
}

/// As code does that runs there and writes to its frame.
void touch_from_below(std::uintptr_t buffer, std::size_t bytes) {
  constexpr std::size_t below = 1024;
  auto touch = [&] {
    const std::size_t page = handler::page_size();
    auto* const first = reinterpret_cast<volatile char*>(handler::page_down(buffer));
    for (std::size_t at = handler::page_up(bytes) / page + 1; at > 0; --at) {
      volatile char& byte = first[(at - 1) * page];
      byte = byte;
    }
  };
  call_at(buffer - below, touch);
}

/// In a worker: makes the call in the middle of nowhere; if that fails, once more after the memory
/// was touched.
/// {"first", "second": bytes or -errno, "right": the data arrived}
nlohmann::json try_call(const Question& question, const Filler& call) {
  const auto stack = make(question.subject);
  const int source = call.source == nullptr ? -1 : call.source(call.bytes);
  nlohmann::json seen;
  stack->run([&] {
    const std::uintptr_t buffer = handler::page_down(stack->base() - depth);
    const auto whole = static_cast<long>(call.bytes);
    const long first = make_call(call, source, buffer);
    long second = first;
    if (first != whole) {
      touch_from_below(buffer, call.bytes);
      second = make_call(call, source, buffer);
    }
    const bool right =
        second == whole && (call.source == nullptr || call.number == SYS_read ||
                            *reinterpret_cast<const char*>(buffer + call.bytes - 1) == pattern);
    seen = {{"first", first}, {"second", second}, {"right", right}};
  });
  return seen;
}

// ---- cells --------------------------------------------------------------------------------------

std::string errno_word(long result) {
  const char* const name = strerrorname_np(static_cast<int>(-result));
  return name == nullptr ? fmt::format("errno {}", -result) : name;
}

Cell filled(long result, std::size_t bytes) {
  if (result == static_cast<long>(bytes)) {
    return yes("whole");
  }
  return result < 0 ? no(errno_word(result))
                    : no("short", fmt::format("{} of {} bytes", result, bytes));
}

Cell filled(const Fate& fate, const Filler& call) {
  return fate.survived() ? filled(fate.said.at("first").get<long>(), call.bytes) : survival(fate);
}

/// Whether the data that a failed call was to bring came with the next one.
Cell kept(const Fate& fate, const Filler& call) {
  if (!fate.survived()) {
    return survival(fate);
  }
  const long first = fate.said.at("first");
  const long second = fate.said.at("second");
  if (first == static_cast<long>(call.bytes)) {
    return yes("no need");
  }
  const std::string then =
      fmt::format("{}, then {}", first < 0 ? errno_word(first) : fmt::format("{} bytes", first),
                  second < 0 ? errno_word(second) : fmt::format("{} bytes", second));
  return fate.said.at("right").get<bool>() ? yes("kept") : no("lost", then);
}

/// Not inlined, and a frame of its own that nobody touches but the call of read().
[[gnu::noinline]] ssize_t read_into_fresh_frame(int source) {
  char frame[depth];  // uninitialised on purpose
  const ssize_t bytes = read(source, frame, pipe_read.bytes);
  asm volatile("" : : "r"(frame) : "memory");
  return bytes;
}

Cell read_by_libc(const Question& question) {
  const Fate fate = in_worker([&] {
    const auto stack = make(question.subject);
    const int source = full_pipe(pipe_read.bytes);
    ssize_t bytes = 0;
    stack->run([&] {
      bytes = read_into_fresh_frame(source);
      bytes = bytes < 0 ? -errno : bytes;
    });
    return nlohmann::json(bytes);
  });
  return fate.survived() ? filled(fate.said.get<long>(), pipe_read.bytes) : survival(fate);
}

/// FUTEX_WAIT for a value that is not there: EAGAIN if the kernel can read the word.
Cell wait_on_futex(const Question& question) {
  const Fate fate = in_worker([&] {
    const auto stack = make(question.subject);
    long result = 0;
    stack->run([&] {
      const std::uintptr_t word = handler::page_down(stack->base() - depth);
      constexpr std::uintptr_t other_value = 12345;
      result = syscall_at(word - 512, SYS_futex, word, FUTEX_WAIT_PRIVATE, other_value);
    });
    return nlohmann::json(result);
  });
  if (!fate.survived()) {
    return survival(fate);
  }
  const long result = fate.said;
  return result == -EAGAIN ? yes() : no(errno_word(result));
}

Cells ask_calls(const Question& question) {
  const auto attempt = [&](const Filler& call) {
    return in_worker([&] { return try_call(question, call); });
  };
  const Fate pipe = attempt(pipe_read);
  const Fate stream = attempt(stream_read);
  const Fate datagram = attempt(datagram_receive);
  const Fate event = attempt(eventfd_read);
  return {{"read_libc", read_by_libc(question)},
          {"read_raw", filled(pipe, pipe_read)},
          {"recv_raw", filled(datagram, datagram_receive)},
          {"futex_raw", wait_on_futex(question)},
          {"getrandom_raw", filled(attempt(random_bytes), random_bytes)},
          {"pipe_kept", kept(pipe, pipe_read)},
          {"unix_stream_kept", kept(stream, stream_read)},
          {"unix_datagram_kept", kept(datagram, datagram_receive)},
          {"eventfd_kept", kept(event, eventfd_read)}};
}

}  // namespace

Family promises_of_calls() {
  return {
      .title = "System calls into memory that nobody has touched",
      .what_was_done =
          "One MiB below the base, far below what is committed, a system call was handed a buffer: "
          "a read() of libc's "
          "from a function with a large frame (its call pushed a return address below the buffer), "
          "and bare system "
          "calls, made inline with the stack pointer below the buffer and nothing pushed. After a "
          "failure the memory was "
          "touched from a frame below it and the call made again: was the data still there?",
      .probes = {{.name = "calls",
                  .promises = {{"read_libc", "libc's read(), 64 KiB of a pipe", "1/0"},
                               {"read_raw", "bare read, 64 KiB of a pipe", "1/0"},
                               {"recv_raw", "bare recv, a UNIX datagram", "1/0"},
                               {"futex_raw", "bare FUTEX_WAIT", "1/0"},
                               {"getrandom_raw", "bare getrandom", "1/0"},
                               {"pipe_kept", "data of the pipe after a failure", "1/0"},
                               {"unix_stream_kept", "data of a UNIX stream after a failure", "1/0"},
                               {"unix_datagram_kept", "a UNIX datagram after a failure", "1/0"},
                               {"eventfd_kept", "an eventfd's count after a failure", "1/0"}},
                  .ask = ask_calls,
                  .patience = std::chrono::seconds(60)}}};
}

}  // namespace growstack::compare::promises
