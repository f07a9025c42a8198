// An execution as a graph: what each thread did, which write each read read, and the order of the
// writes of each location. From these three follows everything that the language promises: what
// happens before what, and which value a read may still see. graph.cpp has the rules.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace growstack::explorer {

inline constexpr std::size_t most_threads = 8;

/// Names an event: the how-manieth of which thread. The write that gave a location its first value
/// belongs to no thread.
struct EventId {
  std::int16_t thread = -1;
  std::uint16_t index = 0;

  [[nodiscard]] bool is_initial() const noexcept { return thread < 0; }
  friend bool operator==(EventId, EventId) = default;
};

/// A set of events that contains, with an event, all earlier ones of its thread: how many of each.
class Before {
 public:
  [[nodiscard]] bool contains(EventId event) const noexcept {
    return event.is_initial() || counts_[static_cast<std::size_t>(event.thread)] > event.index;
  }
  /// Adds the event and all earlier ones of its thread.
  void add(EventId event) noexcept {
    if (!contains(event)) {
      counts_[static_cast<std::size_t>(event.thread)] = static_cast<std::uint16_t>(event.index + 1);
    }
  }
  void add(const Before& others) noexcept {
    for (std::size_t thread = 0; thread < most_threads; ++thread) {
      counts_[thread] =
          counts_[thread] < others.counts_[thread] ? others.counts_[thread] : counts_[thread];
    }
  }

 private:
  std::array<std::uint16_t, most_threads> counts_{};
};

enum class Kind : std::uint8_t { read, write, fence, choice };

/// Says which fences order which. Two ordinary fences order each other. A light one, which costs
/// the processor nothing, is ordered only with a heavy one, which makes all threads pass a fence.
enum class Weight : std::uint8_t { ordinary, light, heavy };

using Address = std::uintptr_t;

struct Event {
  Kind kind = Kind::choice;
  Weight weight = Weight::ordinary;  ///< of a fence
  std::memory_order order = std::memory_order_relaxed;
  /// A read and the write after it are one step, and no write comes between them.
  bool exclusive = false;
  /// False for a read of which is not known yet whether its thread makes it exclusive, and hence
  /// neither its order nor what follows from it.
  bool settled = true;
  Address location = 0;
  std::uint64_t value = 0;  ///< what was read, written or chosen
  EventId read_from;        ///< of a read
  std::uint32_t stamp = 0;  ///< events that were added earlier have smaller ones

  Before happens_before;  ///< all that happens before it, and itself
  Before causes;          ///< all that is earlier in its thread or was read, transitively
  Before released;        ///< of a write: what happens before an acquiring read of it
  // What later events of the same thread inherit:
  Before fence_released;  ///< what happens before its last releasing fence
  Before to_acquire;      ///< what an acquiring fence would acquire
};

/// The writes of one location, in the order on which all threads agree (modification order).
struct Writes {
  Address location = 0;
  std::size_t size = 0;  ///< bytes of the object
  std::uint64_t initial_value = 0;
  std::vector<EventId> order;  ///< without the initial one

  /// Returns 0 for the initial write, 1 for the first one after it, and so on.
  [[nodiscard]] std::size_t place_of(EventId write) const noexcept;
  [[nodiscard]] EventId at(std::size_t place) const noexcept {
    return place == 0 ? EventId{} : order[place - 1];
  }
  [[nodiscard]] std::size_t count() const noexcept { return order.size() + 1; }
};

class Graph {
 public:
  std::array<std::vector<Event>, most_threads> threads;
  std::vector<Writes> locations;
  std::uint32_t next_stamp = 0;

  [[nodiscard]] const Event& at(EventId id) const noexcept {
    return threads[static_cast<std::size_t>(id.thread)][id.index];
  }
  [[nodiscard]] Event& at(EventId id) noexcept {
    return threads[static_cast<std::size_t>(id.thread)][id.index];
  }
  /// Returns the writes of a location that is known already.
  [[nodiscard]] const Writes& writes(Address location) const noexcept;
  [[nodiscard]] Writes& writes(Address location) noexcept;
  /// Makes the location known if it is not.
  Writes& writes(Address location, std::size_t size, std::uint64_t initial_value);
  [[nodiscard]] std::uint64_t value_of(const Writes& writes, EventId write) const noexcept {
    return write.is_initial() ? writes.initial_value : at(write).value;
  }
  /// Returns the place of a write, or of the write that a read read.
  [[nodiscard]] std::size_t place_of(const Event& event, EventId id) const noexcept;

  /// Returns the earliest place that a thread may still see: that of the last write of which it
  /// knows, or that it has read. `until` is what the thread has done.
  [[nodiscard]] std::size_t first_visible(const Writes& writes, const Before& known) const noexcept;
  /// Returns all that happens before the next event of a thread.
  [[nodiscard]] Before known_to(std::size_t thread) const noexcept;

  /// Adds an event at the end of its thread and returns its name. A read or a write must still be
  /// settled or placed.
  EventId append(std::size_t thread, Event event);
  /// Finds out what follows from a read, once its order is known; from a write; from a fence.
  void settle(EventId id, std::memory_order order, bool exclusive) noexcept;
  /// Puts a write at a place of its location's order.
  void place(EventId write, std::size_t place);

  /// Returns whether a write there would come between a read and the write that belongs to it.
  [[nodiscard]] bool splits_exclusive(const Writes& writes, std::size_t place) const noexcept;
  /// Returns whether one order of all sequentially consistent events explains what was read.
  [[nodiscard]] bool is_sequentially_consistent() const;

  /// Takes away what a filter refuses. What it refuses must be the ends of threads.
  template <class Keep>
  void keep_only(Keep keep);
};

template <class Keep>
void Graph::keep_only(Keep keep) {
  for (std::size_t thread = 0; thread < most_threads; ++thread) {
    std::vector<Event>& events = threads[thread];
    while (!events.empty() && !keep(EventId{static_cast<std::int16_t>(thread),
                                            static_cast<std::uint16_t>(events.size() - 1)})) {
      events.pop_back();
    }
  }
  for (Writes& writes : locations) {
    std::erase_if(writes.order, [&](EventId write) {
      return threads[static_cast<std::size_t>(write.thread)].size() <= write.index;
    });
  }
}

[[nodiscard]] constexpr bool acquires(std::memory_order order) noexcept {
  return order != std::memory_order_relaxed && order != std::memory_order_release;
}
[[nodiscard]] constexpr bool releases(std::memory_order order) noexcept {
  return order == std::memory_order_release || order == std::memory_order_acq_rel ||
         order == std::memory_order_seq_cst;
}

}  // namespace growstack::explorer
