// The search: TruSt ("Truly stateless, optimal dynamic partial order reduction", Kokologiannakis,
// Marmanis, Gladstein, Vafeiadis, POPL 2022). It builds graphs step by step. A read tries every
// write that it may see. A write that comes later than a read of the same location is tried as what
// that read sees, too: the graph goes back to the read, without what depended on it. A test of what
// is lost thereby ("maximal") makes sure that no execution is built twice.
#include "execution.hpp"
#include "explorer.hpp"
#include "heap.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

namespace growstack::explorer {
namespace {

constexpr std::size_t most_steps = 500;  // of one execution

std::map<std::string, std::uint64_t>* outcomes_of_running = nullptr;

class Search {
 public:
  Search(const Model& model, std::uint64_t most_executions)
      : model_(model), most_executions_(most_executions) {}

  Explored run() {
    outcomes_of_running = &result_.outcomes;
    begin_anew();
    while (!todo_.empty() && result_.fault.empty()) {
      execution_.graph = std::move(todo_.back());
      todo_.pop_back();
      finish_one();
    }
    return result_;
  }

 private:
  void begin_anew() {
    todo_.assign(1, Graph{});
    result_ = Explored{};
  }

  /// Runs one execution to its end, and notes the other ones that branch off.
  void finish_one() {
    current = &execution_;
    execution_.begin(model_);
    for (;;) {
      if (!execution_.replay()) {
        break;
      }
      const std::size_t thread = execution_.asking();
      if (thread == most_threads) {
        end_execution();
        break;
      }
      if (execution_.graph.next_stamp >= no_end || steps_in_graph() >= most_steps) {
        execution_.fail("an execution has no end");
        break;
      }
      if (!extend(thread)) {
        break;
      }
      ++result_.steps;
      execution_.answer(thread);
    }
    if (execution_.found_written()) {
      begin_anew();
    }
    if (!execution_.fault().empty()) {
      result_.fault = execution_.fault();
      result_.trace = execution_.trace(model_);
    }
    current = nullptr;
  }

  [[nodiscard]] std::size_t steps_in_graph() const noexcept {
    std::size_t steps = 0;
    for (const auto& events : execution_.graph.threads) {
      steps += events.size();
    }
    return steps;
  }

  void end_execution() {
    if (!execution_.ends()) {
      ++result_.blocked;
      return;
    }
    if (++result_.executions > most_executions_) {
      throw std::runtime_error("the explorer has not seen all executions of a model");
    }
    if (model_.check) {
      execution_.write_back();
      const std::size_t before = heap::use(most_threads);
      model_.check();
      heap::use(before);
      execution_.put_back();
    }
  }

  /// Adds the step that the thread asks for, in one way; notes the other ways. Returns false if
  /// there is none.
  [[nodiscard]] bool extend(std::size_t thread) {
    const Step& step = execution_.asked(thread);
    Graph& graph = execution_.graph;
    Event event;
    event.kind = step.kind;
    event.weight = step.weight;
    event.order = step.order;
    switch (step.kind) {
      case Kind::choice:
        for (std::uint64_t other = step.value - 1; other > 0; --other) {
          event.value = other;
          Graph branch = graph;
          branch.append(thread, event);
          todo_.push_back(std::move(branch));
        }
        event.value = 0;
        graph.append(thread, event);
        return true;
      case Kind::fence:
        graph.settle(graph.append(thread, event), step.order, false);
        return true;
      case Kind::read:
        return read(thread, step, event);
      case Kind::write:
        return write(thread, step, event);
    }
    return false;
  }

  [[nodiscard]] static std::uint64_t initial_value(Object object) noexcept {
    std::uint64_t word = 0;
    std::memcpy(&word, object.address, object.size);
    return word;
  }

  [[nodiscard]] bool read(std::size_t thread, const Step& step, Event event) {
    Graph& graph = execution_.graph;
    const Writes& writes =
        graph.writes(step.location(), step.object.size, initial_value(step.object));
    event.location = step.location();
    event.settled = false;
    const std::size_t last = writes.count() - 1;
    for (std::size_t place = graph.first_visible(writes, graph.known_to(thread)); place < last;
         ++place) {
      event.read_from = writes.at(place);
      event.value = graph.value_of(writes, event.read_from);
      // A thread that waits goes on waiting. Which of the values it saw meanwhile makes no
      // difference.
      if (step.is_wanted == nullptr || (*step.is_wanted)(event.value)) {
        Graph branch = graph;
        branch.append(thread, event);
        todo_.push_back(std::move(branch));
      }
    }
    event.read_from = writes.at(last);
    event.value = graph.value_of(writes, event.read_from);
    graph.append(thread, event);
    return true;
  }

  [[nodiscard]] bool write(std::size_t thread, const Step& step, Event event) {
    Graph& graph = execution_.graph;
    graph.writes(step.location(), step.object.size, initial_value(step.object));
    event.location = step.location();
    event.value = step.value;
    const EventId id = graph.append(thread, event);
    graph.settle(id, step.order, step.exclusive);
    revisit(id);
    const std::vector<std::size_t> places = places_for(graph, id);
    if (places.empty()) {
      return false;
    }
    for (std::size_t index = 0; index + 1 < places.size(); ++index) {
      Graph branch = graph;
      branch.place(id, places[index]);
      if (branch.is_sequentially_consistent()) {
        todo_.push_back(std::move(branch));
      }
    }
    const bool is_last = places.back() == graph.writes(event.location).count();
    graph.place(id, places.back());
    return is_last || graph.is_sequentially_consistent();
  }

  /// Returns the places in its location's order that a write may have.
  [[nodiscard]] static std::vector<std::size_t> places_for(const Graph& graph, EventId id) {
    const Event& write = graph.at(id);
    const Writes& writes = graph.writes(write.location);
    std::size_t first = graph.first_visible(writes, write.happens_before) + 1;
    std::size_t last = writes.count();
    if (write.exclusive) {
      const EventId read{id.thread, static_cast<std::uint16_t>(id.index - 1)};
      first = last = writes.place_of(graph.at(read).read_from) + 1;
    }
    std::vector<std::size_t> places;
    for (std::size_t place = first; place <= last; ++place) {
      if (!graph.splits_exclusive(writes, place)) {
        places.push_back(place);
      }
    }
    return places;
  }

  /// Tries the write as what earlier reads see.
  void revisit(EventId id) {
    const Graph& graph = execution_.graph;
    const Event& write = graph.at(id);
    for (std::size_t thread = 0; thread < most_threads; ++thread) {
      for (std::size_t index = graph.threads[thread].size(); index-- > 0;) {
        const EventId read{static_cast<std::int16_t>(thread), static_cast<std::uint16_t>(index)};
        const Event& event = graph.at(read);
        if (event.kind == Kind::read && event.location == write.location &&
            !write.causes.contains(read) && loses_nothing(graph, read, id)) {
          go_back(read, id);
        }
      }
    }
  }

  /// Calls visit(id, event) for each event; returns false as soon as it does.
  template <class Visit>
  [[nodiscard]] static bool for_each(const Graph& graph, Visit visit) {
    for (std::size_t thread = 0; thread < most_threads; ++thread) {
      for (std::size_t index = 0; index < graph.threads[thread].size(); ++index) {
        const EventId id{static_cast<std::int16_t>(thread), static_cast<std::uint16_t>(index)};
        if (!visit(id, graph.threads[thread][index])) {
          return false;
        }
      }
    }
    return true;
  }

  /// Returns whether the read, and all that has to go, were added in the one way from which the
  /// search goes back.
  [[nodiscard]] static bool loses_nothing(const Graph& graph, EventId read, EventId write) {
    const std::uint32_t since = graph.at(read).stamp;
    const Before& stays = graph.at(write).causes;
    return for_each(graph, [&](EventId id, const Event& event) {
      const bool goes = event.stamp >= since && !stays.contains(id);
      return !goes || is_maximal(graph, id, event, stays);
    });
  }

  /// Returns whether an event was added as the last one of all that was there, or stays.
  [[nodiscard]] static bool is_maximal(const Graph& graph, EventId id, const Event& event,
                                       const Before& stays) {
    if (event.kind == Kind::choice) {
      return event.value == 0;
    }
    if (event.kind == Kind::fence) {
      return true;
    }
    const Writes& writes = graph.writes(event.location);
    const EventId seen = event.kind == Kind::read ? event.read_from : id;
    for (std::size_t place = writes.place_of(seen) + 1; place < writes.count(); ++place) {
      const EventId later = writes.at(place);
      if (stays.contains(later) || graph.at(later).stamp <= event.stamp) {
        return false;
      }
    }
    return event.kind == Kind::read || for_each(graph, [&](EventId other, const Event& reader) {
             const bool was_there = reader.stamp <= event.stamp || stays.contains(other);
             return reader.kind != Kind::read || reader.location != event.location ||
                    reader.read_from != id || !was_there;
           });
  }

  /// Notes the executions in which an earlier read sees the write.
  void go_back(EventId read, EventId write) {
    const Graph& graph = execution_.graph;
    const std::uint32_t since = graph.at(read).stamp;
    const Before stays = graph.at(write).causes;
    Graph before = graph;
    before.keep_only([&](EventId id) { return stays.contains(id) || graph.at(id).stamp < since; });
    for (const std::size_t place : places_for(before, write)) {
      Graph branch = before;
      const Writes& writes = branch.writes(branch.at(write).location);
      const auto thread = static_cast<std::size_t>(read.thread);
      if (place < branch.first_visible(writes, branch.known_to(thread))) {
        continue;
      }
      branch.place(write, place);
      Event again;
      again.kind = Kind::read;
      again.location = branch.at(write).location;
      again.settled = false;
      again.read_from = write;
      again.value = branch.at(write).value;
      const EventId id = branch.append(thread, again);
      branch.at(id).stamp = since;
      todo_.push_back(std::move(branch));
    }
  }

  static constexpr std::uint32_t no_end = UINT32_MAX / 2;

  const Model& model_;
  const std::uint64_t most_executions_;
  Execution execution_{};
  std::vector<Graph> todo_{};
  Explored result_{};
};

}  // namespace

void note(const char* outcome) {
  const heap::Ordinary ordinary;
  ++(*outcomes_of_running)[outcome];
}

Explored explore(const Model& model, std::uint64_t most_executions) {
  if (model.threads.empty() || model.threads.size() >= most_threads) {
    throw std::runtime_error("a model has one to seven threads");
  }
  return Search(model, most_executions).run();
}

}  // namespace growstack::explorer
