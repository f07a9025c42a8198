#include "graph.hpp"

#include <algorithm>
#include <bitset>

namespace growstack::explorer {

std::size_t Writes::place_of(EventId write) const noexcept {
  if (write.is_initial()) {
    return 0;
  }
  return static_cast<std::size_t>(std::find(order.begin(), order.end(), write) - order.begin()) + 1;
}

const Writes& Graph::writes(Address location) const noexcept {
  return *std::find_if(locations.begin(), locations.end(),
                       [&](const Writes& each) { return each.location == location; });
}

Writes& Graph::writes(Address location) noexcept {
  return *std::find_if(locations.begin(), locations.end(),
                       [&](const Writes& each) { return each.location == location; });
}

Writes& Graph::writes(Address location, std::size_t size, std::uint64_t initial_value) {
  const auto found = std::find_if(locations.begin(), locations.end(),
                                  [&](const Writes& each) { return each.location == location; });
  return found != locations.end()
             ? *found
             : locations.emplace_back(Writes{location, size, initial_value, {}});
}

std::size_t Graph::place_of(const Event& event, EventId id) const noexcept {
  return writes(event.location).place_of(event.kind == Kind::write ? id : event.read_from);
}

std::size_t Graph::first_visible(const Writes& writes, const Before& known) const noexcept {
  std::size_t first = 0;
  for (std::size_t place = writes.order.size(); place > 0; --place) {
    if (known.contains(writes.order[place - 1])) {
      first = place;
      break;
    }
  }
  for (std::size_t thread = 0; thread < most_threads; ++thread) {
    for (std::size_t index = 0; index < threads[thread].size(); ++index) {
      const Event& event = threads[thread][index];
      const EventId id{static_cast<std::int16_t>(thread), static_cast<std::uint16_t>(index)};
      if (!known.contains(id)) {
        break;
      }
      if (event.kind == Kind::read && event.location == writes.location) {
        first = std::max(first, writes.place_of(event.read_from));
      }
    }
  }
  return first;
}

Before Graph::known_to(std::size_t thread) const noexcept {
  return threads[thread].empty() ? Before{} : threads[thread].back().happens_before;
}

EventId Graph::append(std::size_t thread, Event event) {
  std::vector<Event>& events = threads[thread];
  if (!events.empty()) {
    const Event& last = events.back();
    event.happens_before = last.happens_before;
    event.causes = last.causes;
    event.fence_released = last.fence_released;
    event.to_acquire = last.to_acquire;
  }
  event.stamp = next_stamp++;
  const EventId id{static_cast<std::int16_t>(thread), static_cast<std::uint16_t>(events.size())};
  event.happens_before.add(id);
  event.causes.add(id);
  events.push_back(event);
  return id;
}

void Graph::settle(EventId id, std::memory_order order, bool exclusive) noexcept {
  Event& event = at(id);
  event.order = order;
  event.exclusive = exclusive;
  event.settled = true;
  switch (event.kind) {
    case Kind::read: {
      if (event.read_from.is_initial()) {
        break;
      }
      const Event& source = at(event.read_from);
      event.causes.add(source.causes);
      event.to_acquire.add(source.released);
      if (acquires(order)) {
        event.happens_before.add(source.released);
      }
      break;
    }
    case Kind::write:
      event.released = releases(order) ? event.happens_before : event.fence_released;
      if (exclusive) {  // it goes on with what the write before it released
        const Event& read = at({id.thread, static_cast<std::uint16_t>(id.index - 1)});
        if (!read.read_from.is_initial()) {
          event.released.add(at(read.read_from).released);
        }
      }
      break;
    case Kind::fence:
      if (event.weight == Weight::light) {
        break;
      }
      if (acquires(order)) {
        event.happens_before.add(event.to_acquire);
      }
      if (releases(order)) {
        event.fence_released = event.happens_before;
      }
      break;
    case Kind::choice:
      break;
  }
}

void Graph::place(EventId write, std::size_t place) {
  std::vector<EventId>& order = writes(at(write).location).order;
  order.insert(order.begin() + static_cast<std::ptrdiff_t>(place) - 1, write);
}

bool Graph::splits_exclusive(const Writes& writes, std::size_t place) const noexcept {
  return place < writes.count() && at(writes.at(place)).exclusive;
}

// ---- sequential consistency ---------------------------------------------------------------------

namespace {

constexpr std::size_t most_events = 512;
using Events = std::bitset<most_events>;

/// The rule of C++20 as "Repairing sequential consistency in C/C++11" (Lahav and others, 2017)
/// writes it: the partial order `psc` of sequentially consistent events has no cycle.
class Order {
 public:
  explicit Order(const Graph& graph) {
    for (std::size_t thread = 0; thread < most_threads; ++thread) {
      first_[thread] = all_.size();
      for (std::size_t index = 0; index < graph.threads[thread].size(); ++index) {
        const EventId id{static_cast<std::int16_t>(thread), static_cast<std::uint16_t>(index)};
        const Event& event = graph.threads[thread][index];
        const bool accesses = event.kind == Kind::read || event.kind == Kind::write;
        all_.push_back({&event, id, accesses ? graph.place_of(event, id) : 0, accesses});
      }
    }
    first_[most_threads] = all_.size();
  }

  [[nodiscard]] bool has_cycle() {
    bool has_heavy = false;
    for (const Node& node : all_) {
      has_heavy = has_heavy || node.event->weight == Weight::heavy;
    }
    for (std::size_t node = 0; node < all_.size(); ++node) {
      const Event& event = *all_[node].event;
      if (event.order == std::memory_order_seq_cst && event.kind != Kind::choice &&
          (event.weight != Weight::light || has_heavy)) {
        nodes_.push_back(node);
      }
    }
    if (nodes_.size() < 2) {
      return false;
    }
    find_edges();
    return search_cycle();
  }

 private:
  struct Node {
    const Event* event;
    EventId id;
    std::size_t place;  ///< of the write, or of what the read read
    bool accesses;
  };

  [[nodiscard]] bool happens_before(std::size_t a, std::size_t b) const noexcept {
    return a != b && all_[b].event->happens_before.contains(all_[a].id);
  }
  [[nodiscard]] bool at_same_location(std::size_t a, std::size_t b) const noexcept {
    return all_[a].accesses && all_[b].accesses &&
           all_[a].event->location == all_[b].event->location;
  }
  /// One step or several of: read from, earlier in modification order, read what is earlier there.
  [[nodiscard]] bool is_observed_before(std::size_t a, std::size_t b) const noexcept {
    if (!at_same_location(a, b)) {
      return false;
    }
    const bool reads_what_is_written =
        all_[a].event->kind == Kind::write && all_[b].event->kind == Kind::read;
    return all_[a].place < all_[b].place ||
           (reads_what_is_written && all_[a].place == all_[b].place);
  }
  /// The relation scb of the paper.
  [[nodiscard]] Events after(std::size_t a) const {
    Events result;
    const Node& from = all_[a];
    const auto thread = static_cast<std::size_t>(from.id.thread);
    for (std::size_t b = 0; b < all_.size(); ++b) {
      const bool later_in_thread = all_[b].id.thread == from.id.thread && b > a;
      const bool overwritten = at_same_location(a, b) && all_[b].event->kind == Kind::write &&
                               from.place < all_[b].place;
      if (later_in_thread || overwritten || (at_same_location(a, b) && happens_before(a, b))) {
        result.set(b);
      }
    }
    std::size_t c = a + 1;  // the first event of the thread at another location
    while (c < first_[thread + 1] && at_same_location(a, c)) {
      ++c;
    }
    if (c == first_[thread + 1]) {
      return result;
    }
    for (std::size_t other = 0; other < most_threads; ++other) {
      bool follows = false;  // what was passed so far happens after c and is at another location
      std::size_t last = 0;
      for (std::size_t b = first_[other]; b < first_[other + 1]; ++b) {
        if (follows && (!at_same_location(last, b) || has_other_location(c, last, b))) {
          result.set(b);
        }
        if (happens_before(c, b) || c == b) {
          follows = true;
          last = b;
        }
      }
    }
    return result;
  }
  /// Returns whether an event from c's successors up to `last`, of b's thread, is elsewhere than b.
  [[nodiscard]] bool has_other_location(std::size_t c, std::size_t last,
                                        std::size_t b) const noexcept {
    const std::size_t first = first_[static_cast<std::size_t>(all_[b].id.thread)];
    for (std::size_t d = last + 1; d-- > first && (d == c || happens_before(c, d));) {
      if (!at_same_location(d, b)) {
        return true;
      }
    }
    return false;
  }

  [[nodiscard]] bool is_fence(std::size_t node) const noexcept {
    return all_[node].event->kind == Kind::fence;
  }

  [[nodiscard]] bool may_order(std::size_t a, std::size_t b) const noexcept {
    const Weight first = all_[a].event->weight;
    const Weight second = all_[b].event->weight;
    return first == Weight::heavy || second == Weight::heavy ||
           (first == Weight::ordinary && second == Weight::ordinary);
  }

  void find_edges() {
    edges_.resize(nodes_.size());
    for (std::size_t from = 0; from < nodes_.size(); ++from) {
      const std::size_t a = nodes_[from];
      Events reached = after(a);
      Events observed;  // what a fence precedes by what was read
      for (std::size_t x = 0; is_fence(a) && x < all_.size(); ++x) {
        if (happens_before(a, x)) {
          reached |= after(x);
          for (std::size_t y = 0; y < all_.size(); ++y) {
            observed[y] = observed[y] || is_observed_before(x, y);
          }
        }
      }
      for (std::size_t to = 0; to < nodes_.size(); ++to) {
        const std::size_t b = nodes_[to];
        bool precedes = reached[b] || (is_fence(a) && is_fence(b) && happens_before(a, b));
        for (std::size_t y = 0; is_fence(b) && !precedes && y < all_.size(); ++y) {
          precedes = happens_before(y, b) && (reached[y] || observed[y]);
        }
        if (precedes && may_order(a, b)) {
          edges_[from].push_back(to);
        }
      }
    }
  }

  [[nodiscard]] bool search_cycle() {
    states_.assign(nodes_.size(), State::unseen);
    for (std::size_t node = 0; node < nodes_.size(); ++node) {
      if (states_[node] == State::unseen && leads_to_cycle(node)) {
        return true;
      }
    }
    return false;
  }
  [[nodiscard]] bool leads_to_cycle(std::size_t node) {
    states_[node] = State::open;
    for (const std::size_t next : edges_[node]) {
      if (states_[next] == State::open ||
          (states_[next] == State::unseen && leads_to_cycle(next))) {
        return true;
      }
    }
    states_[node] = State::done;
    return false;
  }

  enum class State : std::uint8_t { unseen, open, done };
  std::vector<Node> all_{};
  std::array<std::size_t, most_threads + 1> first_{};
  std::vector<std::size_t> nodes_{};  ///< the sequentially consistent ones
  std::vector<std::vector<std::size_t>> edges_{};
  std::vector<State> states_{};
};

}  // namespace

bool Graph::is_sequentially_consistent() const { return !Order(*this).has_cycle(); }

}  // namespace growstack::explorer
