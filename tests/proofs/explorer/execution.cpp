#include "execution.hpp"

#include "heap.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>

namespace growstack::explorer {

Execution* current = nullptr;

namespace {

EventId event_id(std::size_t thread, std::size_t index) noexcept {
  return {static_cast<std::int16_t>(thread), static_cast<std::uint16_t>(index)};
}

std::uint64_t word_at(Object object) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, object.address, object.size);
  return word;
}

}  // namespace

void Execution::begin(const Model& model) {
  thread_count_ = model.threads.size();
  is_over_ = found_written_ = false;
  fault_.clear();
  log_.clear();
  plain_.clear();
  released_.clear();
  names_.clear();
  forget_thread_locals();
  heap::reset();
  {
    const std::size_t before = heap::use(most_threads);
    if (model.set_up) {
      model.set_up();
    }
    heap::use(before);
  }
  for (std::size_t thread = 0; thread < thread_count_; ++thread) {
    Thread& each = threads_[thread];
    each.status = Status::runs;
    each.done = each.loop = 0;
    each.may_die = each.may_time_out = each.may_wait_for_ever = false;
    bodies_[thread] = [this, &model, thread] {
      model.threads[thread]();
      end_thread_locals();
      threads_[thread].status = Status::ended;
    };
    each.locals.begin();
    each.fiber.restart(bodies_[thread]);
  }
}

bool Execution::is_done(EventId id) const noexcept {
  return id.is_initial() || threads_[static_cast<std::size_t>(id.thread)].done > id.index;
}

void Execution::run(std::size_t thread) {
  running_ = thread;
  threads_[thread].status = Status::runs;
  threads_[thread].locals.swap();
  const std::size_t before = heap::use(thread);
  threads_[thread].fiber.resume();
  heap::use(before);
  threads_[thread].locals.swap();
  running_ = most_threads;
}

bool Execution::replay() {
  for (bool progressed = true; progressed;) {
    progressed = false;
    for (std::size_t thread = 0; thread < thread_count_; ++thread) {
      const Thread& each = threads_[thread];
      if (each.status == Status::runs ||
          (each.status == Status::waits_for_other && is_done(each.awaited))) {
        run(thread);
        progressed = true;
        if (is_over_) {
          return false;
        }
      }
    }
  }
  return true;
}

std::size_t Execution::asking() const noexcept {
  for (std::size_t thread = 0; thread < thread_count_; ++thread) {
    if (threads_[thread].status == Status::asks) {
      return thread;
    }
  }
  return most_threads;
}

void Execution::leave(Status status) {
  threads_[running_].status = status;
  threads_[running_].fiber.leave();
  // Back from outside, in the midst of a step: the explorer's own data is not the model's.
  heap::use(heap::none);
}

void Execution::leave_for_ever() {
  leave(threads_[running_].status == Status::runs ? Status::ended : threads_[running_].status);
  std::abort();  // nobody resumes it
}

void Execution::fail(std::string what) {
  if (fault_.empty()) {
    fault_ = std::move(what);
  }
  is_over_ = true;
}

void Execution::stop_unless(bool holds, const char* what) {
  if (!holds) {
    const heap::Ordinary ordinary;
    fail(what);
    if (running_ < most_threads) {
      leave_for_ever();
    }
  }
}

void Execution::compare(const Event& event, const Step& step) {
  const bool accesses = step.kind == Kind::read || step.kind == Kind::write;
  bool same = event.kind == step.kind && (!accesses || event.location == step.location()) &&
              (step.kind != Kind::write || event.value == step.value);
  if (same && accesses) {
    const Writes& writes = graph.writes(event.location);
    same = writes.size != step.object.size || word_at(step.object) == writes.initial_value;
  }
  stop_unless(same,
              "the model does not do the same again: set_up() does not put everything back, or a "
              "thread depends on more than what it reads");
}

Event Execution::perform(const Step& step) {
  const heap::Ordinary ordinary;
  Thread& self = threads_[running_];
  const EventId id = event_id(running_, self.done);
  if (step.object.address != nullptr) {
    refuse_released(step.location());
  }
  for (;;) {
    if (id.index >= graph.threads[running_].size()) {
      self.step = &step;
      leave(Status::asks);
      continue;
    }
    if (const Event& event = graph.at(id); event.kind == Kind::read && !is_done(event.read_from)) {
      self.awaited = event.read_from;
      leave(Status::waits_for_other);
      continue;
    }
    break;
  }
  compare(graph.at(id), step);
  if (!graph.at(id).settled) {
    settle(id, step);
  }
  ++self.done;
  log_.push_back(id);
  if (step.is_wanted != nullptr && !(*step.is_wanted)(graph.at(id).value)) {
    threads_[running_].status = Status::blocked;
    leave_for_ever();
  }
  return graph.at(id);
}

/// Decides what a read is, now that its thread can tell, and whether the graph can be.
void Execution::settle(EventId id, const Step& step) {
  const Event& read = graph.at(id);
  Change change{.writes = false, .value = 0, .order = step.order};
  if (step.decide != nullptr && (step.is_wanted == nullptr || (*step.is_wanted)(read.value))) {
    change = (*step.decide)(read.value);
  }
  graph.settle(id, change.order, change.writes);
  const Writes& writes = graph.writes(read.location);
  if (writes.place_of(read.read_from) + 1 < writes.count() && !graph.is_sequentially_consistent()) {
    is_over_ = true;
    leave_for_ever();
  }
}

std::uint64_t Execution::change(Step read) {
  const Event found = perform(read);
  if (found.exclusive) {
    const Change decided = (*read.decide)(found.value);
    Step write{.kind = Kind::write, .object = read.object, .order = decided.order};
    write.exclusive = true;
    write.value = decided.value;
    perform(write);
  }
  return found.value;
}

std::uint64_t Execution::read_constant(Object object) {
  refuse_released(reinterpret_cast<Address>(object.address));
  return word_at(object);
}

void Execution::found_written(Object object) {
  const heap::Ordinary ordinary;
  written.insert(reinterpret_cast<Address>(object.address));
  found_written_ = is_over_ = true;
  leave_for_ever();
}

void Execution::yield() {
  Thread& self = threads_[running_];
  const std::vector<Event>& events = graph.threads[running_];
  const bool wrote = std::any_of(events.begin() + self.loop, events.begin() + self.done,
                                 [](const Event& event) { return event.kind == Kind::write; });
  if (!wrote) {
    self.status = Status::yields;
    leave_for_ever();
  }
  self.loop = self.done;
}

bool Execution::waits_for_ever(std::size_t thread) const {
  const Thread& each = threads_[thread];
  const auto is_last = [&](std::size_t index) {
    const Event& event = graph.threads[thread][index];
    const Writes& writes = graph.writes(event.location);
    return writes.place_of(event.read_from) + 1 == writes.count();
  };
  if (each.status == Status::blocked) {
    return !each.may_time_out && is_last(each.done - std::size_t{1});
  }
  for (std::size_t index = each.loop; index < each.done; ++index) {
    if (graph.threads[thread][index].kind == Kind::read && !is_last(index)) {
      return false;
    }
  }
  return true;
}

bool Execution::ends() {
  bool others_end = false;  // in another execution, in which they read what is newer
  std::string waiting;
  for (std::size_t thread = 0; thread < thread_count_; ++thread) {
    const Thread& each = threads_[thread];
    if (each.status == Status::ended) {
      continue;
    }
    if (!waits_for_ever(thread)) {
      others_end = true;
    } else if (!each.may_wait_for_ever) {
      waiting += " thread " + std::to_string(thread);
    }
  }
  if (!others_end && !waiting.empty()) {
    fail("waits for ever:" + waiting);
  }
  return !others_end && waiting.empty();
}

void Execution::write_back() const {
  for (const Writes& writes : graph.locations) {
    const std::uint64_t value = graph.value_of(writes, writes.at(writes.count() - 1));
    std::memcpy(reinterpret_cast<void*>(writes.location), &value, writes.size);
  }
}

void Execution::put_back() const {
  for (const Writes& writes : graph.locations) {
    std::memcpy(reinterpret_cast<void*>(writes.location), &writes.initial_value, writes.size);
  }
}

// ---- memory -------------------------------------------------------------------------------------

void Execution::access_plain(const void* object, Access access) {
  const heap::Ordinary ordinary;
  refuse_released(reinterpret_cast<Address>(object));
  const Before known =
      graph.threads[running_].empty() || threads_[running_].done == 0
          ? Before{}
          : graph.at(event_id(running_, threads_[running_].done - std::size_t{1})).happens_before;
  for (const PlainAccess& other : plain_) {
    if (other.object == object && other.thread != running_ &&
        (other.access == Access::write || access == Access::write)) {
      stop_unless(known.contains(event_id(other.thread, other.done)),
                  "a data race: two threads access memory, one writes, and nothing orders them");
    }
  }
  plain_.push_back({object, running_, threads_[running_].done, access});
}

void Execution::refuse_released(Address address) {
  for (const Released& each : released_) {
    stop_unless(address < each.begin || address >= each.end, "an access to released memory");
  }
}

void Execution::release(Address begin, std::size_t bytes) {
  const heap::Ordinary ordinary;
  const auto is_inside = [&](Address at) { return at >= begin && at < begin + bytes; };
  const Before known =
      threads_[running_].done == 0
          ? Before{}
          : graph.at(event_id(running_, threads_[running_].done - std::size_t{1})).happens_before;
  for (std::size_t thread = 0; thread < thread_count_; ++thread) {
    for (std::size_t index = 0; index < graph.threads[thread].size(); ++index) {
      const Event& event = graph.threads[thread][index];
      stop_unless(event.location == 0 || !is_inside(event.location) ||
                      known.contains(event_id(thread, index)),
                  "memory is released, and nothing orders that after an access");
    }
  }
  for (const PlainAccess& other : plain_) {
    stop_unless(!is_inside(reinterpret_cast<Address>(other.object)) || other.thread == running_ ||
                    known.contains(event_id(other.thread, other.done)),
                "memory is released, and nothing orders that after an access");
  }
  released_.push_back({begin, begin + bytes});
}

void Execution::reuse(Address begin) {
  const heap::Ordinary ordinary;
  std::erase_if(released_, [&](const Released& each) { return each.begin == begin; });
}

// ---- for people ---------------------------------------------------------------------------------

void Execution::name(const void* object, std::string text) {
  const heap::Ordinary ordinary;
  names_.emplace_back(reinterpret_cast<Address>(object), std::string(text.c_str()));
}

std::string Execution::name_of(Address address) const {
  for (const auto& [at, text] : names_) {
    if (at == address) {
      return text;
    }
  }
  std::ostringstream text;
  text << "0x" << std::hex << address;
  return text.str();
}

std::string Execution::describe(EventId id) const {
  static constexpr const char* orders[] = {"relaxed", "consume", "acquire",
                                           "release", "acq_rel", "seq_cst"};
  const Event& event = graph.at(id);
  std::ostringstream text;
  text << "thread " << id.thread << " #" << id.index << ": ";
  switch (event.kind) {
    case Kind::read:
      text << "reads " << name_of(event.location) << " = 0x" << std::hex << event.value << std::dec;
      if (event.read_from.is_initial()) {
        text << " of set_up()";
      } else {
        text << " of thread " << event.read_from.thread << " #" << event.read_from.index;
      }
      break;
    case Kind::write:
      text << "writes " << name_of(event.location) << " = 0x" << std::hex << event.value;
      break;
    case Kind::fence:
      text << (event.weight == Weight::heavy   ? "barrier everywhere"
               : event.weight == Weight::light ? "fence of the compiler"
                                               : "fence");
      break;
    case Kind::choice:
      text << "chooses " << event.value;
      return text.str();
  }
  text << ", " << orders[static_cast<std::size_t>(event.order)];
  return text.str();
}

std::string Execution::trace(const Model& model) {
  if (model.names) {
    model.names();
  }
  std::string text;
  for (const EventId id : log_) {
    text += describe(id) + "\n";
  }
  return text;
}

}  // namespace growstack::explorer
