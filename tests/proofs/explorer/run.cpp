// The operations of explorer.hpp and run.hpp, made of steps.
#include "run.hpp"

#include "execution.hpp"
#include "explorer.hpp"
#include "heap.hpp"

#include <array>
#include <cstring>
#include <utility>

namespace growstack::explorer {
namespace {

/// What the kernel knows of a thread, and of those who wait on a word.
std::array<std::uint64_t, most_threads> deaths{};

constexpr std::size_t most_words = 64;
struct Queue {
  const void* word = nullptr;
  std::uint64_t wakes = 0;
};
std::array<Queue, most_words> queues{};

/// The number of times that those who wait on the word have been woken. Only its address counts, so
/// it may stay for the next execution.
Object wakes_of(const void* word) {
  for (Queue& queue : queues) {
    if (queue.word == nullptr) {
      queue.word = word;
    }
    if (queue.word == word) {
      return {&queue.wakes, sizeof queue.wakes};
    }
  }
  require(false, "a model waits on more words than the explorer has room for");
  return {};
}

Object death_of(std::uint64_t thread) noexcept { return {&deaths[thread], sizeof deaths[thread]}; }

std::uint64_t word_at(Object object) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, object.address, object.size);
  return word;
}

/// What is allocated is accessed by steps in any case, so that its release can be ordered after
/// them.
bool may_be_constant(Object object) {
  return !heap::is_ours(object.address) && current->is_constant(object);
}

void die_perhaps() {
  if (current->may_die_now() && choose(2) == 1) {
    die();
  }
}

}  // namespace

bool in_model() noexcept { return current != nullptr && current->running() < most_threads; }

std::uint64_t load(Object object, std::memory_order order) {
  if (!in_model()) {
    return word_at(object);
  }
  if (may_be_constant(object)) {
    return current->read_constant(object);
  }
  return current->perform({.kind = Kind::read, .object = object, .order = order}).value;
}

void store(Object object, std::uint64_t value, std::memory_order order) {
  if (!in_model()) {
    std::memcpy(object.address, &value, object.size);
    return;
  }
  if (may_be_constant(object)) {
    current->found_written(object);
  }
  die_perhaps();
  Step step{.kind = Kind::write, .object = object, .order = order};
  step.value = value;
  current->perform(step);
}

std::uint64_t change(Object object, FunctionRef<Change(std::uint64_t)> decide) {
  if (!in_model()) {
    const std::uint64_t found = word_at(object);
    if (const Change change = decide(found); change.writes) {
      std::memcpy(object.address, &change.value, object.size);
    }
    return found;
  }
  if (may_be_constant(object)) {
    const std::uint64_t found = current->read_constant(object);
    if (!decide(found).writes) {
      return found;
    }
    current->found_written(object);
  }
  die_perhaps();
  Step step{.kind = Kind::read, .object = object};
  step.decide = &decide;
  return current->change(step);
}

std::uint64_t wait_until(Object object, std::memory_order order,
                         FunctionRef<bool(std::uint64_t)> is_wanted) {
  if (may_be_constant(object)) {
    current->found_written(object);
  }
  die_perhaps();  // while it waits
  Step step{.kind = Kind::read, .object = object, .order = order};
  step.is_wanted = &is_wanted;
  return current->perform(step).value;
}

std::uint64_t change_when(Object object, FunctionRef<bool(std::uint64_t)> is_wanted,
                          FunctionRef<Change(std::uint64_t)> decide) {
  if (may_be_constant(object)) {
    current->found_written(object);
  }
  die_perhaps();
  Step step{.kind = Kind::read, .object = object};
  step.is_wanted = &is_wanted;
  step.decide = &decide;
  return current->change(step);
}

void fence(std::memory_order order, Weight weight) {
  if (in_model()) {
    Step step{.kind = Kind::fence, .object = {}, .order = order};
    step.weight = weight;
    current->perform(step);
  }
}

void access(const void* object, Access access) {
  if (in_model()) {
    current->access_plain(object, access);
  }
}

void require(bool holds, const char* what) {
  if (current != nullptr) {
    current->stop_unless(holds, what);
  }
}

void name(const void* object, std::string name) {
  if (current != nullptr) {
    current->name(object, std::move(name));
  }
}

std::uint64_t choose(std::uint64_t count) {
  Step step{.kind = Kind::choice, .object = {}};
  step.value = count;
  return current->perform(step).value;
}

std::uint64_t this_thread() { return current->running(); }

void yield() {
  if (in_model()) {
    current->yield();
  }
}

/// The kernel compares the word and puts the thread into a queue under the lock that a wake takes.
/// So one is before the other: either the compare sees what was written before the wake, or the
/// wake finds the thread.
Woken wait_on(const void* word, std::uint32_t expected, Timeout timeout) {
  const Object object{const_cast<void*>(word), sizeof expected};
  const auto is_different = [&] {
    return static_cast<std::uint32_t>(load(object, std::memory_order_relaxed)) != expected;
  };
  if (timeout == Timeout::may_fire && choose(2) == 1) {
    return is_different() ? Woken::is_different : Woken::by_timeout;
  }
  const Object wakes = wakes_of(word);
  const std::uint64_t before = change(wakes, [](std::uint64_t found) {
    return Change{true, found, std::memory_order_acq_rel};
  });
  if (is_different()) {
    return Woken::is_different;
  }
  if (timeout == Timeout::may_fire) {
    current->mark_timed_wait();
  }
  wait_until(wakes, std::memory_order_acquire,
             [before](std::uint64_t found) { return found > before; });
  current->mark_untimed_wait();
  return Woken::by_wake;
}

void wake(const void* word) {
  change(wakes_of(word), [](std::uint64_t found) {
    return Change{true, found + 1, std::memory_order_acq_rel};
  });
}

void barrier_everywhere() { fence(std::memory_order_seq_cst, Weight::heavy); }

void may_wait_for_ever() { current->may_wait_for_ever(); }

void may_die() { current->may_die(); }

void die() {
  const Object death = death_of(current->running());
  if (may_be_constant(death)) {
    current->found_written(death);
  }
  Step step{.kind = Kind::write, .object = death};
  step.order = std::memory_order_release;
  step.value = 1;
  current->perform(step);
  current->leave_for_ever();
}

bool has_died(std::uint64_t thread) {
  return load(death_of(thread), std::memory_order_acquire) != 0;
}

void release(const void* begin, std::size_t bytes) {
  if (in_model()) {
    current->release(reinterpret_cast<Address>(begin), bytes);
  }
}

void reuse(const void* begin, std::size_t /*bytes*/) {
  if (in_model()) {
    current->reuse(reinterpret_cast<Address>(begin));
  }
}

}  // namespace growstack::explorer
