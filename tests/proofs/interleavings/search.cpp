// Depth first through all orders of dependent steps: dynamic partial-order reduction (Flanagan and
// Godefroid, 2005) with sleep sets. Each execution runs from the beginning to its end.
#include "interleavings/interleavings.hpp"
#include "interleavings/run.hpp"
#include "interleavings/thread_memory.hpp"

#include <boost/context/detail/fcontext.hpp>

#include <algorithm>
#include <array>
#include <bitset>
#include <cstdio>
#include <memory>
#include <unordered_map>

namespace growstack::interleavings {
namespace {

namespace context = boost::context::detail;

using Set = std::bitset<most_threads>;
using Operations = std::array<Operation, most_threads>;

/// A state of the search, and what was tried from there.
struct Node {
  Set enabled;
  Set asleep;  ///< to run them next leads to what was explored already
  Set to_try;  ///< grows when a later step turns out to depend on this one
  Set done;
  std::size_t thread = 0;  ///< that runs next
  std::size_t choice = 0;  ///< what choose() returns in this step
  std::size_t choices = 1;
  Operations next{};  ///< of each thread
};

/// A step of this execution.
struct Step {
  std::size_t thread = 0;
  Operation operation{};
  std::array<std::size_t, most_threads> after{};  ///< how many steps of each thread it depends on
};

class Fiber {
 public:
  static constexpr std::size_t stack_bytes = std::size_t{256} * 1024;

  std::function<void()> body;
  ThreadMemory memory;
  std::array<const void*, most_keys> specific{};
  Operation next{};
  bool is_done = false;  ///< has no more steps
  bool waits = false;    ///< for a change of `read`
  Address read = 0;      ///< what it read last
  std::uint64_t version = 0;

  void begin() {
    memory.reset();
    specific = {};
    next = {};
    is_done = false;
    waits = false;
    read = 0;
    context_ = context::make_fcontext(stack_.get() + stack_bytes, stack_bytes, run);
  }
  void resume() {
    const std::uintptr_t before = memory.use();
    const context::transfer_t from = context::jump_fcontext(context_, this);
    ThreadMemory::use_again(before);
    context_ = from.fctx;
  }
  void leave() { back_ = context::jump_fcontext(back_, nullptr).fctx; }
  [[nodiscard]] bool has(Address object) const noexcept {
    const auto low = reinterpret_cast<Address>(stack_.get());
    return low <= object && object < low + stack_bytes;
  }

 private:
  static void run(context::transfer_t from);

  std::unique_ptr<std::byte[]> stack_ = std::make_unique_for_overwrite<std::byte[]>(stack_bytes);
  context::fcontext_t context_ = nullptr;  ///< while it does not run
  context::fcontext_t back_ = nullptr;     ///< while it runs
};

struct Search {
  const Model* model = nullptr;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Node> nodes;
  std::vector<Step> steps;  ///< of this execution
  std::unordered_map<Address, std::vector<std::size_t>> steps_at;
  std::vector<std::size_t> everywhere;  ///< those steps
  std::array<std::array<std::size_t, most_threads>, most_threads> after{};
  std::array<std::size_t, most_threads> count{};  ///< steps of each thread
  std::unordered_map<Address, std::uint64_t> versions;
  std::unordered_map<Address, std::size_t> owners;  ///< of mutexes that somebody has
  std::size_t fresh_from = 0;  ///< steps from here on were not made in an earlier execution
  bool is_redundant = false;
  std::size_t redundant_from = 0;  ///< the node in which that was found
  bool is_alone = false;
  std::size_t survivor = 0;  ///< if it is alone
  std::size_t running_thread = 0;
  Explored result{};
};
Search search;
/// These two are asked before main(), too.
constinit bool is_aside = true;
constinit Fiber* running = nullptr;

bool is_access(Kind kind) noexcept { return kind == Kind::read || kind == Kind::write; }
bool is_of_mutex(Kind kind) noexcept {
  return kind == Kind::lock || kind == Kind::try_lock || kind == Kind::unlock;
}

bool depend(const Operation& one, const Operation& two) noexcept {
  if (one.kind == Kind::everywhere || two.kind == Kind::everywhere) {
    return one.kind != Kind::begin && two.kind != Kind::begin;
  }
  if (one.object != two.object) {
    return false;
  }
  return (is_access(one.kind) && is_access(two.kind) &&
          (one.kind == Kind::write || two.kind == Kind::write)) ||
         (is_of_mutex(one.kind) && is_of_mutex(two.kind));
}

/// In a forked child only one thread does.
bool exists(std::size_t thread) noexcept { return !search.is_alone || thread == search.survivor; }

bool is_enabled(std::size_t thread) {
  const Fiber& fiber = *search.fibers[thread];
  if (fiber.is_done || !exists(thread)) {
    return false;
  }
  if (fiber.next.kind == Kind::lock) {
    return !search.owners.contains(fiber.next.object);
  }
  return !(fiber.waits && fiber.next.kind == Kind::read && fiber.next.object == fiber.read &&
           search.versions[fiber.read] == fiber.version);
}

Set all_enabled() {
  Set enabled;
  for (std::size_t thread = 0; thread < search.fibers.size(); ++thread) {
    enabled[thread] = is_enabled(thread);
  }
  return enabled;
}

/// Lets the search try `thread` where it made a step of another thread instead.
void try_before(std::size_t step, std::size_t thread) {
  Node& node = search.nodes[step];
  if (node.enabled[thread]) {
    node.to_try.set(thread);
  } else {
    node.to_try |= node.enabled;
  }
}

std::size_t step_that_locked(std::size_t unlock) {
  const Step& end = search.steps[unlock];
  for (std::size_t index = unlock; index-- > 0;) {
    const Step& each = search.steps[index];
    if (each.thread == end.thread && each.operation.object == end.operation.object &&
        (each.operation.kind == Kind::lock || each.operation.kind == Kind::try_lock)) {
      return index;
    }
  }
  return unlock;
}

/// An earlier step that the next one of a thread depends on.
void note_dependence(std::size_t index, std::size_t thread, const Operation& operation) {
  const Step& earlier = search.steps[index];
  if (!depend(earlier.operation, operation)) {
    return;
  }
  std::array<std::size_t, most_threads>& after = search.after[thread];
  const bool is_fresh = search.steps.size() >= search.fresh_from && !search.is_redundant;
  if (is_fresh && earlier.thread != thread &&
      after[earlier.thread] < earlier.after[earlier.thread]) {
    const bool waited = operation.kind == Kind::lock && earlier.operation.kind == Kind::unlock;
    try_before(waited ? step_that_locked(index) : index, thread);
  }
  for (std::size_t each = 0; each < most_threads; ++each) {
    after[each] = std::max(after[each], earlier.after[each]);
  }
}

/// Notes a step, and finds the earlier ones that it could as well have preceded.
void note_step(std::size_t thread, const Operation& operation) {
  std::vector<std::size_t>& at_object = search.steps_at[operation.object];
  if (operation.kind == Kind::everywhere) {
    for (std::size_t index = search.steps.size(); index-- > 0;) {
      note_dependence(index, thread, operation);
    }
    search.everywhere.push_back(search.steps.size());
  } else {
    auto everywhere = search.everywhere.rbegin();
    for (auto index = at_object.rbegin(); index != at_object.rend(); ++index) {
      for (; everywhere != search.everywhere.rend() && *everywhere > *index; ++everywhere) {
        note_dependence(*everywhere, thread, operation);
      }
      note_dependence(*index, thread, operation);
    }
    for (; everywhere != search.everywhere.rend(); ++everywhere) {
      note_dependence(*everywhere, thread, operation);
    }
  }
  at_object.push_back(search.steps.size());
  search.after[thread][thread] = ++search.count[thread];
  search.steps.push_back({.thread = thread, .operation = operation, .after = search.after[thread]});
}

std::string describe(const Step& step) {
  static constexpr std::array names{"begin",    "read",   "write",     "lock",
                                    "try_lock", "unlock", "everywhere"};
  std::array<char, 96> line{};
  std::snprintf(line.data(), line.size(), "%zu: %s %lx at %lx\n", step.thread,
                names[static_cast<std::size_t>(step.operation.kind)], step.operation.object,
                step.operation.code);
  return line.data();
}

void note_fault(const std::string& what) {
  search.result.fault = what;
  for (const Step& step : search.steps) {
    search.result.trace += describe(step);
  }
}

/// Sleep sets: a thread whose next step does not depend on the one that was made sleeps on.
Set asleep_after(const Node& node) {
  Set asleep;
  for (std::size_t thread = 0; thread < most_threads; ++thread) {
    const bool sleeps = node.asleep[thread] || node.done[thread];
    asleep[thread] =
        sleeps && thread != node.thread && !depend(node.next[thread], node.next[node.thread]);
  }
  return asleep;
}

void add_node(Set enabled) {
  Node node;
  node.enabled = enabled;
  node.asleep = search.nodes.empty() ? Set() : asleep_after(search.nodes.back());
  for (std::size_t thread = 0; thread < search.fibers.size(); ++thread) {
    node.next[thread] = search.fibers[thread]->next;
  }
  Set candidates = enabled & ~node.asleep;
  if (candidates.none()) {  // goes on all the same, so that it ends properly
    if (!search.is_redundant) {
      search.is_redundant = true;
      search.redundant_from = search.nodes.size();
      ++search.result.redundant;
    }
    candidates = enabled;
  }
  node.thread = candidates[search.running_thread]
                    ? search.running_thread
                    : static_cast<std::size_t>(__builtin_ctzll(candidates.to_ullong()));
  node.to_try.set(node.thread);
  search.nodes.push_back(node);
}

/// Runs the threads to their ends. Returns false after a fault.
bool run_steps() {
  constexpr std::size_t most_steps = 20'000;
  for (std::size_t depth = 0;; ++depth) {
    const Set enabled = all_enabled();
    if (enabled.none()) {
      break;
    }
    if (depth == most_steps) {
      note_fault("an execution has no end");
      return false;
    }
    if (depth == search.nodes.size()) {
      add_node(enabled);
    }
    const std::size_t thread = search.nodes[depth].thread;
    Fiber& fiber = *search.fibers[thread];
    note_step(thread, fiber.next);
    running = &fiber;
    search.running_thread = thread;
    fiber.resume();
    running = nullptr;
    if (!search.result.fault.empty()) {
      return false;
    }
  }
  for (std::size_t thread = 0; thread < search.fibers.size(); ++thread) {
    if (exists(thread) && !search.fibers[thread]->is_done) {
      note_fault("threads wait for each other for ever");
      return false;
    }
  }
  return true;
}

void begin_execution() {
  search.steps.clear();
  search.steps_at.clear();
  search.everywhere.clear();
  search.after = {};
  search.count = {};
  search.versions.clear();
  search.owners.clear();
  search.is_redundant = false;
  search.is_alone = false;
  search.running_thread = 0;
  races::begin(search.fibers.size());
  search.model->set_up();
  for (std::size_t thread = 0; thread < search.fibers.size(); ++thread) {
    search.fibers[thread]->body = search.model->threads[thread];
    search.fibers[thread]->begin();
  }
}

/// The ends of threads, and what must hold then.
void end_execution() {
  if (search.model->at_rest) {
    search.model->at_rest();
  }
  for (std::size_t thread = 0; thread < search.fibers.size(); ++thread) {
    if (exists(thread)) {
      running = search.fibers[thread].get();
      search.running_thread = thread;
      search.fibers[thread]->resume();
      running = nullptr;
    }
  }
  search.model->check();
  empty_quarantine();
}

/// Goes to the next execution. Returns false if there is none.
bool advance() {
  while (!search.nodes.empty()) {
    Node& node = search.nodes.back();
    if (++node.choice < node.choices) {
      break;
    }
    node.done.set(node.thread);
    node.choice = 0;
    node.choices = 1;
    const Set left = node.to_try & ~node.done & ~node.asleep;
    if (left.any()) {
      node.thread = static_cast<std::size_t>(__builtin_ctzll(left.to_ullong()));
      break;
    }
    search.nodes.pop_back();
  }
  search.fresh_from = search.nodes.empty() ? 0 : search.nodes.size() - 1;
  return !search.nodes.empty();
}

void Fiber::run(context::transfer_t from) {
  Fiber& self = *static_cast<Fiber*>(from.data);
  self.back_ = from.fctx;
  is_aside = false;
  self.body();
  is_aside = true;
  self.is_done = true;
  self.leave();
  run_destructors();
  self.leave();
}

}  // namespace

Explored explore(const Model& model) {
  if (!search.result.fault.empty()) {
    search.result.fault = "an earlier model of this process has not ended";
    return search.result;
  }
  search.result = {};
  search.model = &model;
  search.nodes.clear();
  search.fresh_from = 0;
  while (search.fibers.size() < model.threads.size()) {
    search.fibers.push_back(std::make_unique<Fiber>());
  }
  search.fibers.resize(model.threads.size());
  do {
    begin_execution();
    if (!run_steps()) {
      return search.result;
    }
    end_execution();
    search.result.steps += search.steps.size();
    search.result.executions += search.is_redundant ? 0 : 1;
    if (search.is_redundant) {
      search.nodes.resize(search.redundant_from);
    }
  } while (search.result.fault.empty() && advance());
  return search.result;
}

void require(bool holds, const char* what) {
  if (holds) {
    return;
  }
  if (running == nullptr) {
    if (search.result.fault.empty()) {
      note_fault(what);
    }
    return;
  }
  fail(what, 0);
}

Aside::Aside() noexcept : before_(std::exchange(is_aside, true)) {}
Aside::~Aside() { is_aside = before_; }

void end_thread() { run_destructors(); }

void fork_here(const std::function<void()>& child) {
  before_fork();
  {
    const Aside aside;
    step({.kind = Kind::everywhere, .object = 0, .code = 0});  // what the others were at matters
  }
  const bool is_child = choose(2) == 1;
  if (is_child) {
    search.is_alone = true;
    search.survivor = search.running_thread;
    races::know_all();
  }
  after_fork(is_child);
  if (is_child) {
    child();
  }
}

// ---- for the hooks ------------------------------------------------------------------------------

bool in_model() noexcept { return !is_aside; }
bool in_thread() noexcept { return running != nullptr; }
std::size_t this_thread() noexcept { return search.running_thread; }
std::array<const void*, most_keys>& specific() noexcept {
  static constinit std::array<const void*, most_keys> of_main{};
  return running == nullptr ? of_main : running->specific;
}

void fail(const char* what, Address object) {
  std::array<char, 32> where{};
  std::snprintf(where.data(), where.size(), " (%lx)", object);
  note_fault(std::string(what) + where.data());
  is_aside = true;
  for (;;) {
    running->leave();
  }
}

void step(Operation operation) {
  Fiber& self = *running;
  if (self.has(operation.object)) {
    return;
  }
  self.next = operation;
  self.leave();
  self.waits = false;
  if (operation.kind == Kind::read) {
    self.read = operation.object;
    self.version = search.versions[operation.object];
  } else if (operation.kind == Kind::write) {
    ++search.versions[operation.object];
  }
}

/// The step that is being made is the last one; its node knows what was chosen so far. One choice a
/// step.
std::size_t choose(std::size_t count) {
  Node& node = search.nodes[search.steps.size() - 1];
  node.choices = count;
  return node.choice;
}

void wait_for_change() noexcept { running->waits = true; }

bool take_mutex(Address mutex) noexcept {
  return search.owners.emplace(mutex, search.running_thread).second;
}
bool leave_mutex(Address mutex) noexcept {
  const auto owner = search.owners.find(mutex);
  const bool is_mine = owner != search.owners.end() && owner->second == search.running_thread;
  if (is_mine) {
    search.owners.erase(owner);
  }
  return is_mine;
}

}  // namespace growstack::interleavings
