#include "memory/last_stacks.hpp"

#include "errors.hpp"

#include <growstack/current_stack.hpp>
#include <growstack/handler/init_order.hpp>

#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <map>
#include <mutex>

namespace growstack {

[[gnu::tls_model("initial-exec")]] constinit thread_local detail::LastStack detail::last_stack{};

namespace {

/// A thread in the list of all threads that remember a stack.
struct Rememberer {
  enum class State : std::uint8_t {
    unlisted,
    listed,
    over,  ///< the thread ends, and remembers nothing any more
  };

  State state;
  detail::LastStack* last;
  Rememberer* next;
  Rememberer** link;  ///< what points to this one
};
constinit thread_local Rememberer this_thread{};

struct LastStacks {
  std::mutex lock;
  Rememberer* first = nullptr;
  std::map<std::uintptr_t, std::uintptr_t> told;  ///< from low to high; no two overlap

  /// Under the lock, or in a forked child.
  void insert(Rememberer& thread) noexcept {
    thread.next = first;
    thread.link = &first;
    if (first != nullptr) {
      first->link = &thread.next;
    }
    first = &thread;
  }
};

/// The size of LastStacks::told, so that nobody takes the lock for nothing. Who sees a telling sees
/// the size of then, because `all_tellings` publishes it.
constinit std::atomic<std::size_t> told_count{0};
constinit std::atomic<std::uint64_t> all_tellings{0};

void leave_list(void* /*any*/) noexcept;

/// Made when the program is loaded, because a child that is forked while another thread makes it
/// would find it half made for ever. Made before the registers of stacks, which take their locks
/// before this one. Never destroyed, because threads may outlive everything else.
class TheLastStacks {
 public:
  TheLastStacks()
      : last_stacks_(*new LastStacks), has_key_(pthread_key_create(&key_, leave_list) == 0) {
    static_cast<void>(pthread_atfork(before_fork, in_parent, in_child));
  }
  LastStacks& operator*() const noexcept { return last_stacks_; }

  /// Sees to it that this thread leaves the list when it ends. A pthread key, because its
  /// destructor runs after those of all thread_local objects, which may ask for their stack.
  [[nodiscard]] bool watch_this_thread() const noexcept {
    return has_key_ && pthread_setspecific(key_, this) == 0;
  }

 private:
  static void before_fork() noexcept;
  static void in_parent() noexcept;
  static void in_child() noexcept;

  LastStacks& last_stacks_;
  pthread_key_t key_{};
  bool has_key_;
};

[[gnu::init_priority(handler::init_foundations)]] const TheLastStacks the_last_stacks;

void TheLastStacks::before_fork() noexcept { (*the_last_stacks).lock.lock(); }
void TheLastStacks::in_parent() noexcept { (*the_last_stacks).lock.unlock(); }

/// The other threads do not exist here, and their memory may become that of new threads.
void TheLastStacks::in_child() noexcept {
  LastStacks& all = *the_last_stacks;
  all.first = nullptr;
  if (this_thread.state == Rememberer::State::listed) {
    all.insert(this_thread);
  }
  all.lock.unlock();
}

void leave_list(void* /*any*/) noexcept {
  LastStacks& all = *the_last_stacks;
  const std::lock_guard guard(all.lock);
  *this_thread.link = this_thread.next;
  if (this_thread.next != nullptr) {
    this_thread.next->link = this_thread.link;
  }
  this_thread.state = Rememberer::State::over;
  this_thread.last->size.store(0, std::memory_order_relaxed);
}

/// Returns whether this thread may remember something: it is in the list, so that others can make
/// it forget.
bool is_listed() noexcept {
  if (this_thread.state == Rememberer::State::unlisted && the_last_stacks.watch_this_thread()) {
    LastStacks& all = *the_last_stacks;
    const std::lock_guard guard(all.lock);
    this_thread.last = &detail::last_stack;
    all.insert(this_thread);
    this_thread.state = Rememberer::State::listed;
  }
  return this_thread.state == Rememberer::State::listed;
}

/// Under the lock. Sequentially consistent with remember_stack(): see there. `size` publishes
/// `low`. A thread may be about to remember another stack, so that the two do not belong together.
/// Then it looks at tellings() later than this, or has left the stack in question long ago.
void forget(const LastStacks& all, StackExtent ended) noexcept {
  for (const Rememberer* thread = all.first; thread != nullptr; thread = thread->next) {
    detail::LastStack& last = *thread->last;
    const std::size_t size = last.size.load(std::memory_order_seq_cst);
    const std::uintptr_t low = last.low.load(std::memory_order_relaxed);
    if (low < ended.high && ended.low < low + size) {
      last.size.store(0, std::memory_order_relaxed);
    }
  }
}

}  // namespace

std::uint64_t tellings() noexcept { return all_tellings.load(std::memory_order_seq_cst); }

bool remember_stack(StackExtent stack, std::uint64_t looked_up_at) noexcept {
  const bool remembers = is_listed();
  detail::LastStack& last = detail::last_stack;
  if (remembers) {
    last.low.store(stack.low, std::memory_order_relaxed);
    // Either who tells a stack sees this, or we see that he has told it.
    last.size.store(stack.high - stack.low, std::memory_order_seq_cst);
  }
  const bool is_right = tellings() == looked_up_at;
  if (remembers && !is_right) {
    last.size.store(0, std::memory_order_relaxed);
  }
  return is_right;
}

void forget_stacks(std::uintptr_t begin, std::size_t size) noexcept {
  LastStacks& all = *the_last_stacks;
  const std::lock_guard guard(all.lock);
  forget(all, {.low = begin, .high = begin + size});
}

// ---- told stacks --------------------------------------------------------------------------------

std::optional<StackExtent> told_stack_at(std::uintptr_t address) noexcept {
  if (told_count.load(std::memory_order_relaxed) == 0) {
    return std::nullopt;
  }
  LastStacks& all = *the_last_stacks;
  const std::lock_guard guard(all.lock);
  const auto above = all.told.upper_bound(address);
  if (above == all.told.begin()) {
    return std::nullopt;
  }
  const auto [low, high] = *std::prev(above);
  return address < high ? std::optional(StackExtent{.low = low, .high = high}) : std::nullopt;
}

StackExtent without_told_stacks(StackExtent stack, std::uintptr_t address) noexcept {
  if (told_count.load(std::memory_order_relaxed) == 0) {
    return stack;
  }
  LastStacks& all = *the_last_stacks;
  const std::lock_guard guard(all.lock);
  const auto above = all.told.upper_bound(address);
  if (above != all.told.end() && above->first < stack.high) {
    stack.high = above->first;
  }
  if (above != all.told.begin() && std::prev(above)->second > stack.low) {
    stack.low = std::prev(above)->second;
  }
  return stack;
}

void detail::tell_stack(std::uintptr_t low, std::size_t size) {
  const StackExtent stack{.low = low, .high = low + size};
  if (low == 0 || stack.high <= low) {
    fail(EINVAL, "a KnownStack needs an address and a size");
  }
  LastStacks& all = *the_last_stacks;
  const std::lock_guard guard(all.lock);
  const auto next = all.told.lower_bound(low);
  if ((next != all.told.end() && next->first < stack.high) ||
      (next != all.told.begin() && std::prev(next)->second > low)) {
    fail(EEXIST, "a KnownStack overlaps another one, which exists still");
  }
  all.told.emplace_hint(next, low, stack.high);
  told_count.store(all.told.size(), std::memory_order_relaxed);
  all_tellings.fetch_add(1, std::memory_order_seq_cst);
  forget(all, stack);
}

void detail::take_stack_back(std::uintptr_t low) noexcept {
  LastStacks& all = *the_last_stacks;
  const std::lock_guard guard(all.lock);
  const auto told = all.told.find(low);
  forget(all, {.low = told->first, .high = told->second});
  all.told.erase(told);
  told_count.store(all.told.size(), std::memory_order_relaxed);
}

}  // namespace growstack
