// Recipe: an event loop with a coroutine for each connection. A connection that waits needs a page
// or two for its stack, however deep it once was.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/stack_allocator.hpp>

#include "support/descend.hpp"

#include <boost/context/fiber.hpp>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

namespace {

namespace context = boost::context;

class EventLoop {
 public:
  EventLoop() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    if (epoll_ < 0) {
      throw std::system_error(errno, std::generic_category(), "epoll_create1");
    }
  }
  ~EventLoop() { close(epoll_); }
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// Runs `serve` in a new coroutine until it waits for the first time.
  void spawn(std::function<void(EventLoop&)> serve) {
    ++running_;
    resume(context::fiber(std::allocator_arg, stacks_,
                          [this, serve = std::move(serve)](context::fiber&& loop) {
                            loop_ = std::move(loop);
                            serve(*this);
                            --running_;
                            return std::move(loop_);
                          }));
  }

  /// Suspends the coroutine that calls this until there is something to read.
  void wait_until_readable(int descriptor) {
    // Gives back what earlier calls needed and this one does not. If there were no page faults
    // since the last time, this is only a comparison.
    static_cast<void>(growstack::Stack::trim_current());
    Waiting waiting;
    epoll_event event{.events = EPOLLIN | EPOLLONESHOT, .data = {.ptr = &waiting}};
    const int operation = epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event) == 0 ? 0 : errno;
    if (operation == EEXIST) {
      epoll_ctl(epoll_, EPOLL_CTL_MOD, descriptor, &event);
    }
    waiting_ = &waiting;
    loop_ = std::move(loop_).resume();
  }

  void run() {
    std::array<epoll_event, 64> events{};
    while (running_ > 0) {
      const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < count; ++i) {
        resume(std::move(
            static_cast<Waiting*>(events[static_cast<std::size_t>(i)].data.ptr)->coroutine));
      }
    }
  }

  [[nodiscard]] const growstack::StackPool& stacks() const { return stacks_.pool(); }

 private:
  struct Waiting {
    context::fiber coroutine;
  };

  void resume(context::fiber coroutine) {
    context::fiber back = std::move(coroutine).resume();
    if (back) {
      waiting_->coroutine = std::move(back);
    }
  }

  growstack::pooled_stack_allocator stacks_;
  int epoll_;
  int running_ = 0;
  context::fiber loop_;         ///< of the coroutine that runs
  Waiting* waiting_ = nullptr;  ///< of the one that has just stopped
};

/// Sends back what it gets. A 'd' takes a deep computation.
void echo(EventLoop& loop, int descriptor, std::size_t& wrong) {
  while (true) {
    loop.wait_until_readable(descriptor);
    char byte = 0;
    if (read(descriptor, &byte, 1) != 1) {
      return;
    }
    if (byte == 'd') {
      wrong += growstack::testing::descend(std::size_t{1} << 20);
    }
    wrong += write(descriptor, &byte, 1) == 1 ? 0 : 1;
  }
}

}  // namespace

TEST_CASE(
    "an event loop serves each connection in a coroutine, which needs little memory while it "
    "waits") {
  constexpr std::size_t connections = 200;
  EventLoop loop;
  std::size_t wrong = 0;
  std::vector<std::array<int, 2>> pairs(connections);
  for (auto& pair : pairs) {
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair.data()) == 0);
    loop.spawn([&wrong, mine = pair[1]](EventLoop& here) { echo(here, mine, wrong); });
  }

  std::size_t resident_while_waiting = 0;
  std::size_t echoed = 0;
  loop.spawn([&](EventLoop& here) {  // the client, in the same loop
    for (const char byte : {'d', 's'}) {
      for (const auto& pair : pairs) {
        REQUIRE(write(pair[0], &byte, 1) == 1);
      }
      for (const auto& pair : pairs) {
        here.wait_until_readable(pair[0]);
        char back = 0;
        echoed += read(pair[0], &back, 1) == 1 && back == byte ? 1 : 0;
      }
    }
    resident_while_waiting = here.stacks().resident();
    for (const auto& pair : pairs) {
      close(pair[0]);
    }
  });
  loop.run();
  for (const auto& pair : pairs) {
    close(pair[1]);
  }
  CHECK(wrong == 0);
  CHECK(echoed == 2 * connections);
  CHECK(resident_while_waiting < connections * 64 * 1024);  // each was 1 MiB deep
  CHECK(loop.stacks().statistics().live == 0);
}
