#include "arena.hpp"

#include "errors.hpp"
#include "sanitizers.hpp"
#include "vm.hpp"

#include <growstack/handler/report.hpp>

#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <tuple>
#include <utility>

namespace growstack {

namespace {

/// A range of one slot that the fault handler cannot find: for memory that is none of its business.
struct UnregisteredRange {
  handler::SlotRecord slot;
  std::atomic<std::uint32_t> pins{0};
  handler::Range range;

  UnregisteredRange() {
    range.slots = &slot;
    range.pins = &pins;
    range.capacity = 1;
    range.slot_count.store(1, std::memory_order_relaxed);
  }
};

}  // namespace

/// Made and destroyed under the registry's lock; lists of free slots likewise.
class Arena {
 public:
  /// Reserves room for at least that many slots and registers it. Throws std::system_error, std::bad_alloc.
  Arena(const Implementation& implementation, const Layout& layout, std::size_t slots)
      : implementation_(implementation), layout_(layout) {
    if (implementation_.from_heap()) {
      take_from_heap();
    } else {
      reserve(slots);
    }
  }

  ~Arena() {
    if (unregistered_ != nullptr) {
      ::operator delete(reinterpret_cast<void*>(begin_), std::align_val_t(vm::page_size()));
    } else {
      handler::remove_range(*range_);
      implementation_.forget(begin_, left_);
      static_cast<void>(vm::release(begin_, left_));
    }
  }

  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  [[nodiscard]] const Implementation& implementation() const noexcept { return implementation_; }
  [[nodiscard]] const Layout& layout() const noexcept { return layout_; }
  [[nodiscard]] handler::Range& range() const noexcept { return *range_; }
  [[nodiscard]] Tenant& tenant(std::uint32_t index) noexcept { return tenants_[index]; }
  [[nodiscard]] std::size_t slot_count() const noexcept { return tenants_.size(); }
  [[nodiscard]] bool full() const noexcept { return free_.empty(); }
  [[nodiscard]] bool empty() const noexcept { return free_.size() + unusable_ == tenants_.size(); }

  /// The slot that open() will use next.
  [[nodiscard]] std::uint32_t next_free() const noexcept { return free_.back(); }

  void open(const StackOptions& options) {
    const std::uint32_t index = next_free();
    const Bounds bounds = bounds_of(index);
    prepare(index, bounds);
    tenants_[index].policy = options.policy;
    tenants_[index].policy.huge_from = layout_.huge_from;
    tenants_[index].policy.factor = std::min(options.policy.factor, implementation_.largest_factor());
    tenants_[index].trim_while_running = {};
    tenants_[index].running.store(false, std::memory_order_relaxed);  // a call may have been left by longjmp
    std::uintptr_t limit = 0;
    if (const int error = implementation_.open(bounds, options, limit); error != 0) {
      const std::size_t asked = implementation_.asked_by_open(bounds, options);
      fail_for_stack(error, "cannot commit " + in_bytes(asked) + " of a stack", asked);
    }
    handler::publish(*range_, index,
                     {.base = bounds.base,
                      .floor = bounds.floor,
                      .guard = bounds.guard,
                      .limit = limit,
                      .reach = options.policy.largest_step,
                      .growth = implementation_.growth(),
                      .name = options.name});
    free_.pop_back();
    left_ = implementation_.keeps_reservation() ? size_ : bounds.floor - begin_;
  }

  void close(std::uint32_t index) noexcept {
    const handler::SlotRecord& slot = range_->slots[index];
    const std::uintptr_t limit = implementation_.limit(slot);
    handler::retire(*range_, index);
    sanitizers::forget_stack_contents(limit, slot.base.load(std::memory_order_relaxed) - limit);
    if (implementation_.close(slot, layout_) == 0) {
      free_.push_back(index);  // reserved in the constructor
    } else {
      ++unusable_;  // memory of the old stack is left where a new one would have its guard; it goes with the arena
    }
  }

 private:
  void make_slots(std::size_t count) {
    tenants_ = std::vector<Tenant>(count);
    free_.reserve(count);
    for (std::size_t index = count; index > 0; --index) {
      free_.push_back(static_cast<std::uint32_t>(index - 1));
    }
  }

  void take_from_heap() {
    make_slots(1);
    auto range = std::make_unique<UnregisteredRange>();
    range_ = &range->range;
    range_->owner = this;
    size_ = layout_.slot_size;
    begin_ = reinterpret_cast<std::uintptr_t>(::operator new(size_, std::align_val_t(vm::page_size()), std::nothrow));
    if (begin_ == 0) {
      fail_for_memory(ENOMEM, named("cannot allocate " + in_bytes(size_)), size_);
    }
    unregistered_ = std::move(range);
  }

  void reserve(std::size_t slots) {
    size_ = vm::round_up(layout_.first + slots * layout_.slot_size, handler::range_alignment);
    make_slots(implementation_.keeps_reservation() ? (size_ - layout_.first) / layout_.slot_size : 1);
    if (const int error = vm::reserve(size_, handler::range_alignment, layout_.pages(), begin_); error != 0) {
      fail_for_memory(error, named("cannot reserve " + in_bytes(size_) + " of address space"),
                      size_ + handler::range_alignment);
    }
    left_ = size_;
    // A strategy with one slot per arena gets a range of one slot too, at its upper end.
    const std::size_t range_slot_size = implementation_.keeps_reservation() ? layout_.slot_size : size_;
    if (const int error = handler::add_range({.begin = begin_,
                                              .size = size_,
                                              .first_slot = layout_.first,
                                              .slot_size = range_slot_size,
                                              .operations = &operations,
                                              .committer = implementation_.committer(),
                                              .owner = this},
                                             range_);
        error != 0) {
      static_cast<void>(vm::release(begin_, size_));
      fail_for_memory(error, named("cannot register " + in_bytes(size_) + " of address space"), 0);
    }
    start_strategy();
  }

  /// Once more, now that there is a range: uninstall() may have come in between, and cannot from here on.
  void start_strategy() {
    try {
      implementation_.start();
    } catch (...) {
      handler::remove_range(*range_);
      static_cast<void>(vm::release(begin_, size_));
      throw;
    }
  }

  [[nodiscard]] std::string named(const std::string& what) const {
    return std::string(implementation_.description().name) + ": " + what;
  }

  /// An error of prepare() or open().
  [[noreturn]] void fail_for_stack(int error, const std::string& what, std::size_t bytes) const {
    if (const std::string explanation = implementation_.explain(error); !explanation.empty()) {
      fail(error, named(explanation));
    }
    fail_for_memory(error, named(what), bytes);
  }

  /// Slots are used for the first time in their order, because the last one given back is the first one taken again.
  void prepare(std::uint32_t index, const Bounds& bounds) {
    if (index < prepared_) {
      return;
    }
    if (const int error = implementation_.prepare(bounds, layout_); error != 0) {
      fail_for_stack(error, "cannot prepare " + in_bytes(bounds.base - bounds.guard) + " of address space for a stack",
                     bounds.base - bounds.guard);
    }
    prepared_ = index + 1;
  }

  [[nodiscard]] Bounds bounds_of(std::uint32_t index) const noexcept {
    const std::uintptr_t base = implementation_.keeps_reservation()
                                    ? begin_ + layout_.first + (index + std::size_t{1}) * layout_.slot_size
                                    : begin_ + size_;
    const std::uintptr_t floor = base - layout_.reserve;
    return {.base = base, .floor = floor, .guard = floor - layout_.guard};
  }

  static handler::Step plan(const handler::Range& range, const handler::SlotRecord& slot, std::uintptr_t address) noexcept {
    const auto index = static_cast<std::uint32_t>(&slot - range.slots);
    const std::uintptr_t limit = slot.limit.load(std::memory_order_acquire);
    if (address >= limit) {
      return {limit, limit};  // another thread was first
    }
    return {grown_limit(static_cast<Arena*>(range.owner)->tenant(index).policy, slot.base.load(std::memory_order_relaxed),
                        slot.floor.load(std::memory_order_relaxed), limit, address, vm::page_size()),
            limit};
  }

  static int commit(const handler::Range& range, const handler::SlotRecord& slot, handler::Step step) noexcept {
    return static_cast<Arena*>(range.owner)->implementation_.commit(slot, step);
  }

  static constexpr handler::Operations operations{
      .plan = &Arena::plan, .commit = &Arena::commit, .on_overflow = handler::report_overflow};

  const Implementation& implementation_;
  const Layout layout_;
  std::unique_ptr<UnregisteredRange> unregistered_;
  std::size_t size_ = 0;
  std::uintptr_t begin_ = 0;
  handler::Range* range_ = nullptr;
  std::vector<Tenant> tenants_;
  std::vector<std::uint32_t> free_;
  std::uint32_t prepared_ = 0;  ///< slots that had a stack at least once
  std::size_t unusable_ = 0;
  std::size_t left_ = 0;  ///< bytes from begin_ that are still to be released once every slot is closed
};

namespace {

/// Stacks of one strategy, one size, guard included, and one kind of pages share arenas.
using Key = std::tuple<const Implementation*, std::size_t, std::size_t, std::size_t>;

/// Arenas of one key. `open` are those with a free slot; it has room for all, so that giving a slot back needs no memory.
struct SizeClass {
  std::size_t arenas = 0;
  std::size_t slots = 0;  ///< of all of them
  std::vector<Arena*> open;
};

struct Registry {
  std::mutex lock;
  std::vector<std::unique_ptr<Arena>> arenas;
  std::map<Key, SizeClass> classes;
};

/// Made when the program is loaded, because a child forked while another thread makes it would find it half made for ever.
/// Never destroyed: stacks with static storage may outlive it.
class TheRegistry {
 public:
  TheRegistry() : registry_(*new Registry) {
    // A child must not inherit the lock from a thread that it does not have.
    static_cast<void>(pthread_atfork(lock, unlock, unlock));
  }
  Registry& operator*() const noexcept { return registry_; }

 private:
  static void lock() noexcept;
  static void unlock() noexcept;

  Registry& registry_;
};

[[gnu::init_priority(102)]] const TheRegistry the_registry;

void TheRegistry::lock() noexcept { (*the_registry).lock.lock(); }
void TheRegistry::unlock() noexcept { (*the_registry).lock.unlock(); }

Key key_of(const Implementation& implementation, const Layout& layout) noexcept {
  return {&implementation, layout.reserve, layout.guard, layout.huge_from};
}

Key key_of(const Arena& arena) noexcept { return key_of(arena.implementation(), arena.layout()); }

void destroy(Registry& all, Arena* arena) noexcept {
  const auto size_class = all.classes.find(key_of(*arena));
  std::erase(size_class->second.open, arena);
  size_class->second.slots -= arena->slot_count();
  if (--size_class->second.arenas == 0) {
    all.classes.erase(size_class);
  }
  const auto found =
      std::find_if(all.arenas.begin(), all.arenas.end(), [&](const auto& each) { return each.get() == arena; });
  std::swap(*found, all.arenas.back());
  all.arenas.pop_back();
}

/// An arena is as large as all before it of its class together: a single stack takes the least that can be had, and many
/// take few mappings. Where so much is not to be had (RLIMIT_AS), the least will do.
std::unique_ptr<Arena> new_arena(const Implementation& implementation, const Layout& layout, std::size_t slots_so_far) {
  constexpr std::size_t most_slots = 65536;
  constexpr std::size_t most_bytes = std::size_t{1} << 40;
  const std::size_t slots = std::min({slots_so_far, most_slots, most_bytes / layout.slot_size});
  if (slots > 1 && implementation.keeps_reservation()) {
    try {
      return std::make_unique<Arena>(implementation, layout, slots);
    } catch (const std::system_error&) {
    }
  }
  return std::make_unique<Arena>(implementation, layout, 1);
}

Arena* make_arena(Registry& all, const Implementation& implementation, const Layout& layout) {
  const Key key = key_of(implementation, layout);
  const auto found = all.classes.find(key);
  auto made = new_arena(implementation, layout, found == all.classes.end() ? 0 : found->second.slots);
  all.arenas.reserve(all.arenas.size() + 1);
  SizeClass& size_class = all.classes[key];
  size_class.open.reserve(size_class.arenas + 1);
  // Nothing fails from here on.
  size_class.open.push_back(made.get());
  ++size_class.arenas;
  size_class.slots += made->slot_count();
  all.arenas.push_back(std::move(made));
  return all.arenas.back().get();
}

Arena* arena_with_room(Registry& all, const Implementation& implementation, const Layout& layout) {
  const auto found = all.classes.find(key_of(implementation, layout));
  return found != all.classes.end() && !found->second.open.empty() ? found->second.open.back()
                                                                   : make_arena(all, implementation, layout);
}

}  // namespace

handler::SlotRecord& Place::slot() const noexcept { return arena->range().slots[index]; }
Tenant& Place::tenant() const noexcept { return arena->tenant(index); }
const Implementation& Place::implementation() const noexcept { return arena->implementation(); }

int Place::trim(std::uintptr_t keep_from) const noexcept {
  return arena->implementation().trim(slot(), arena->layout(), keep_from);
}

Place open_slot(const StackOptions& options) {
  Registry& all = *the_registry;
  const std::lock_guard guard(all.lock);
  const Implementation& strategy = *implementation(options.strategy);
  Arena* const arena =
      arena_with_room(all, strategy, strategy.layout(options.reserve, options.guard, options.policy.huge_from));
  const Place place{arena, arena->next_free()};
  try {
    arena->open(options);
  } catch (...) {
    if (arena->empty()) {
      destroy(all, arena);
    }
    throw;
  }
  if (arena->full()) {
    std::erase(all.classes.find(key_of(*arena))->second.open, arena);
  }
  return place;
}

void close_slot(const Place& place) noexcept {
  Registry& all = *the_registry;
  const std::lock_guard guard(all.lock);
  Arena* const arena = place.arena;
  const bool was_full = arena->full();
  arena->close(place.index);
  if (arena->empty()) {
    destroy(all, arena);
  } else if (was_full && !arena->full()) {
    all.classes.find(key_of(*arena))->second.open.push_back(arena);
  }
}

ArenaTotals arena_totals() {
  Registry& all = *the_registry;
  const std::lock_guard guard(all.lock);
  ArenaTotals totals{.arenas = all.arenas.size()};
  for (const std::unique_ptr<Arena>& arena : all.arenas) {
    const handler::Range& range = arena->range();
    for (std::uint32_t index = 0; index < range.slot_count.load(std::memory_order_relaxed); ++index) {
      const handler::SlotRecord& slot = range.slots[index];
      if (slot.generation.load(std::memory_order_acquire) % 2 == 1) {
        const std::uintptr_t base = slot.base.load(std::memory_order_relaxed);
        ++totals.stacks;
        totals.reserved += base - slot.floor.load(std::memory_order_relaxed);
        totals.committed += base - arena->implementation().limit(slot);
      }
    }
  }
  return totals;
}

Place place_of(const handler::PinnedSlot& pinned) noexcept {
  return {static_cast<Arena*>(pinned.range().owner), pinned.index()};
}

}  // namespace growstack
