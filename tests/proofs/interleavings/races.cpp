// Who knows of what: vector clocks, as the language defines "happens before". An access to ordinary
// memory is a fault if another thread's access is not ordered with it, and one of them writes.
#include "interleavings/run.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>

namespace growstack::interleavings::races {
namespace {

/// How many of the events of each thread are known.
class Clock {
 public:
  [[nodiscard]] std::uint32_t of(std::size_t thread) const noexcept { return known_[thread]; }
  void tick(std::size_t thread) noexcept { ++known_[thread]; }
  void join(const Clock& other) noexcept {
    for (std::size_t thread = 0; thread < most_threads; ++thread) {
      known_[thread] = std::max(known_[thread], other.known_[thread]);
    }
  }

 private:
  std::array<std::uint32_t, most_threads> known_{};
};

struct Knowledge {
  Clock now;
  Clock fence_released;  ///< what a release fence lets later stores publish
  Clock to_acquire;      ///< what an acquire fence would acquire
};

/// The last accesses to eight bytes by each thread: when, and to which of the bytes.
struct Word {
  struct Access {
    std::uint32_t when = 0;
    std::uint8_t bytes = 0;
  };
  std::array<Access, most_threads> reads{};
  std::array<Access, most_threads> writes{};
};

std::array<Knowledge, most_threads> threads;
std::unordered_map<Address, Clock> published;
std::unordered_map<Address, Word> words;
std::map<Address, Address> freed;  ///< from the first to the last byte

Knowledge& here() noexcept { return threads[this_thread()]; }

void check(const std::array<Word::Access, most_threads>& others, std::uint8_t bytes, Address at,
           const char* what) {
  const std::size_t me = this_thread();
  for (std::size_t thread = 0; thread < most_threads; ++thread) {
    const Word::Access& other = others[thread];
    if (thread != me && (other.bytes & bytes) != 0 && other.when > here().now.of(thread)) {
      fail(what, at);
    }
  }
}

/// Calls use(word, bytes, address) for each word of a piece of memory.
template <class Use>
void visit(Address begin, std::size_t size, Use use) {
  constexpr std::size_t word_bytes = 8;
  for (Address at = begin; at < begin + size;) {
    const Address word = at / word_bytes;
    const Address end = std::min(begin + size, (word + 1) * word_bytes);
    const auto bytes = static_cast<std::uint8_t>(((1U << (end - at)) - 1) << (at % word_bytes));
    use(words[word], bytes, at);
    at = end;
  }
}

}  // namespace

void begin(std::size_t count) noexcept {
  threads = {};
  for (std::size_t thread = 0; thread < count; ++thread) {
    threads[thread].now.tick(thread);
  }
  published.clear();
  words.clear();
  freed.clear();
}

void know_all() noexcept {
  for (const Knowledge& each : threads) {
    here().now.join(each.now);
  }
}

void check_exists(Address object) {
  const auto after = freed.upper_bound(object);
  if (after != freed.begin() && object <= std::prev(after)->second) {
    fail("memory is used after it was freed", object);
  }
}

void read(Address begin, std::size_t size) {
  check_exists(begin);
  const std::size_t me = this_thread();
  visit(begin, size, [&](Word& word, std::uint8_t bytes, Address at) {
    check(word.writes, bytes, at, "a read is not ordered with a write");
    word.reads[me] = {.when = here().now.of(me), .bytes = bytes};
  });
}

void write(Address begin, std::size_t size) {
  check_exists(begin);
  const std::size_t me = this_thread();
  visit(begin, size, [&](Word& word, std::uint8_t bytes, Address at) {
    check(word.writes, bytes, at, "a write is not ordered with another write");
    check(word.reads, bytes, at, "a write is not ordered with a read");
    word.writes[me] = {.when = here().now.of(me), .bytes = bytes};
  });
}

void free(Address begin, std::size_t size) {
  write(begin, size);
  freed[begin] = begin + size - 1;
}

void acquire(Address object, std::memory_order order) {
  const Clock& all = published[object];
  here().to_acquire.join(all);
  if (order != std::memory_order_relaxed && order != std::memory_order_release) {
    here().now.join(all);
  }
}

/// `goes_on`: a read-modify-write, which goes on with what the store before it published.
void release(Address object, std::memory_order order, bool goes_on) {
  Clock& all = published[object];
  if (!goes_on) {
    all = {};
  }
  const bool releases = order != std::memory_order_relaxed && order != std::memory_order_acquire &&
                        order != std::memory_order_consume;
  all.join(releases ? here().now : here().fence_released);
  here().now.tick(this_thread());
}

void fence(std::memory_order order) {
  if (order != std::memory_order_release) {
    here().now.join(here().to_acquire);
  }
  if (order != std::memory_order_acquire) {
    here().fence_released = here().now;
    here().now.tick(this_thread());
  }
}

}  // namespace growstack::interleavings::races
