// What the strategies do to memory, over a memory that is a model: a few pages of bits for each
// slot. Stacks are opened, touched, trimmed, given to the next tenant and closed. Each system call
// may fail once, and another thread may grow a stack while it is trimmed. No page of a guard may
// ever be touched, nothing that is in use may be lost, and nothing may be left over.
#include "input.hpp"

#include "arenas/kind.hpp"
#include "memory/residency.hpp"
#include "memory/vm.hpp"
#include "strategies/implementation.hpp"

#include <growstack/growth_policy.hpp>
#include <growstack/handler/is_readable.hpp>
#include <growstack/handler/ranges.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <utility>
#include <vector>

namespace growstack::inputs {
namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t slot_count = 2;
constexpr std::uintptr_t arena = std::uintptr_t{1} << 40;

/// How the slots would grow by a fault. Here no fault comes.
constexpr handler::Operations operations{};

struct Page {
  bool may_be_read = false;
  bool may_be_written = false;
  bool has_marker = false;
  std::uint32_t content = 0;  ///< what was written there; 0: nothing, and no memory

  [[nodiscard, gnu::always_inline]] bool is_usable() const { return may_be_written && !has_marker; }
  bool operator==(const Page&) const = default;
};

/// All pages of the slots, from `first` on.
struct Memory {
  std::uintptr_t first = 0;
  std::vector<Page> pages{};
  unsigned calls_until_failure = 0;  ///< 0: none fails
  bool has_failed = false;           ///< a call, since the program last asked for a failure
  unsigned calls_until_growth = 0;   ///< 0: none comes
  std::function<void()> grow{};      ///< what another thread does before that call

  [[nodiscard]] bool has(std::uintptr_t begin, std::size_t size) const {
    return begin >= first && begin % page == 0 && size % page == 0 &&
           begin - first + size <= pages.size() * page;
  }
  [[nodiscard, gnu::always_inline]] Page& at(std::uintptr_t address) {
    return pages[(address - first) / page];
  }
};
Memory memory;

/// A system call about some pages. Fails if it is its turn.
template <class Change>
GROWSTACK_UNWATCHED int change(std::uintptr_t begin, std::size_t size, Change change_page) {
  if (size == 0) {
    return 0;
  }
  require(memory.has(begin, size), "a system call is about the slots, and about whole pages");
  if (memory.calls_until_growth != 0 && --memory.calls_until_growth == 0) {
    memory.grow();
  }
  if (memory.calls_until_failure != 0 && --memory.calls_until_failure == 0) {
    memory.has_failed = true;
    return ENOMEM;
  }
  for (std::uintptr_t at = begin; at < begin + size; at += page) {
    change_page(memory.at(at));
  }
  return 0;
}

/// A stack, and what the program knows of it.
struct Stack {
  Bounds bounds;
  handler::SlotRecord* slot = nullptr;
  bool is_prepared = false;
  bool is_open = false;
  /// Whether the last trim worked, and nobody grew the stack meanwhile. Memory that stays committed
  /// below the limit does no harm.
  bool is_exact = true;
  std::vector<std::uint32_t> written{};  ///< by page, from the floor
};

class Slots {
 public:
  Slots(Input& input, const StackOptions& options)
      : input_(input), options_(options), kind_(Kind::of(options)) {
    const Layout& layout = kind_.layout;
    memory = {};
    memory.first = arena + layout.first;
    memory.pages.resize(slot_count * layout.slot_size / page);
    require(handler::add_range({.begin = arena,
                                .size = handler::range_alignment,
                                .first_slot = layout.first,
                                .slot_size = layout.slot_size,
                                .operations = &operations},
                               range_) == 0,
            "there is room for the slots");
    for (std::size_t index = 0; index < slot_count; ++index) {
      Stack& stack = stacks_[index];
      const std::uintptr_t base = arena + layout.first + (index + 1) * layout.slot_size;
      stack.bounds = {.base = base,
                      .floor = base - layout.reserve,
                      .guard = base - layout.reserve - layout.guard};
      stack.written.resize(layout.reserve / page);
      stack.slot = &range_->slots[index];
    }
  }
  Slots(const Slots&) = delete;
  Slots& operator=(const Slots&) = delete;
  ~Slots() {
    for (Stack& stack : stacks_) {
      if (stack.is_open) {
        retire(stack);
      }
    }
    handler::remove_range(*range_);
  }

  void open_or_close() {
    Stack& stack = any_stack();
    stack.is_open ? close(stack) : open(stack);
  }

  /// All slots at once, which only fresh ones can be.
  void open_all() {
    if (std::any_of(stacks_.begin(), stacks_.end(),
                    [](const Stack& each) { return each.is_prepared; })) {
      return;
    }
    const std::vector<Page> before = memory.pages;
    let_one_fail();
    if (strategy().open_in_row(stacks_[0].bounds, slot_count, kind_.layout, options_) != 0) {
      require(is_all_as(before), "after a failure all slots are as before");
    } else {
      for (Stack& stack : stacks_) {
        stack.is_prepared = true;
        begin(stack);
      }
    }
    memory.calls_until_failure = 0;
  }

  void touch() {
    Stack& stack = any_stack();
    if (stack.is_open) {
      const std::size_t pages = stack.written.size();
      write(stack, pages - input_.magnitude(1, pages));
    }
  }

  /// Memory before it is needed: growth without a fault, near a budget by as little as possible.
  void commit_ahead() {
    Stack& stack = any_stack();
    const std::size_t pages = stack.written.size();
    const std::uintptr_t address = stack.bounds.base - input_.magnitude(1, pages) * page;
    const std::uintptr_t limit = stack.slot->limit;
    if (stack.is_open && kind_.description().event != GrowthEvent::none && address < limit) {
      const handler::Step step{input_.flag() ? address : grown_to(stack, address), limit};
      if (strategy().commit(*stack.slot, kind_.layout, step) == 0) {
        handler::lower_limit(*stack.slot, step);
      }
    }
  }

  void trim() {
    Stack& stack = any_stack();
    if (!stack.is_open || !kind_.description().trims) {
      return;
    }
    const std::size_t pages = stack.written.size();
    const std::size_t kept = input_.magnitude(0, pages);
    static_cast<void>(trim(stack, stack.bounds.base - kept * page));
  }

  /// What a pool does to a stack that comes back: see PoolCore::end_marked().
  void change_tenant() {
    Stack& stack = any_stack();
    if (!stack.is_open || !kind_.description().trims) {
      return;
    }
    handler::SlotRecord& slot = *stack.slot;
    const bool is_left_below = (slot.marks & handler::left_below_mark) != 0;
    slot.marks &= handler::left_below_mark;
    const std::uintptr_t keep_from =
        stack.bounds.base - input_.magnitude(0, stack.written.size()) * page;
    const std::uintptr_t limit = slot.limit;
    if (is_left_below || slot.high_water < keep_from) {
      const bool works = trim(stack, is_left_below ? std::max(keep_from, limit) : keep_from);
      if (is_left_below && works) {
        slot.marks &= ~handler::left_below_mark;
      }
      require(!is_left_below || !works || stack.is_exact, "what a trim left, the next one takes");
    }
    slot.high_water = slot.limit.load();
    slot.growth_faults = 0;
  }

  void check_all() const {
    for (const Stack& stack : stacks_) {
      check(stack);
    }
  }
  /// Checks the stack that something was done with last.
  void check_last() const { check(*last_); }

 private:
  [[nodiscard]] const Implementation& strategy() const { return *kind_.implementation; }
  Stack& any_stack() {
    last_ = &stacks_[input_.from(0, slot_count - 1)];
    return *last_;
  }
  void let_one_fail() {
    memory.has_failed = false;
    memory.calls_until_failure = static_cast<unsigned>(input_.from(0, 5));
  }

  /// Returns whether all worked, and nobody grew the stack meanwhile.
  bool trim(Stack& stack, std::uintptr_t keep_from) {
    const std::uintptr_t limit = stack.slot->limit;
    const std::uintptr_t committed_from = strategy().limit(*stack.slot, kind_.layout);
    bool has_grown = false;
    let_one_fail();
    memory.grow = [&] {
      has_grown = true;
      const unsigned calls_until_failure = std::exchange(memory.calls_until_failure, 0U);
      const std::size_t pages = stack.written.size();
      write(stack, pages - input_.magnitude(1, pages));
      memory.calls_until_failure = calls_until_failure;
    };
    memory.calls_until_growth = input_.from(0, 3) == 0 ? 1 + input_.flag() : 0;
    const int error = strategy().trim(*stack.slot, kind_.layout, keep_from);
    memory.calls_until_failure = 0;
    memory.calls_until_growth = 0;
    require(error == 0 || memory.has_failed, "a trim works unless the system refuses");
    require(has_grown || strategy().limit(*stack.slot, kind_.layout) >= committed_from,
            "a trim leaves no more committed than before");
    const bool works = error == 0 && !has_grown;
    stack.is_exact = works && (stack.is_exact || keep_from >= limit);
    require(!works || resident(stack.bounds.floor, keep_from - stack.bounds.floor) == 0,
            "what lies below is given back");
    forget_below(stack, keep_from);
    return works;
  }

  /// The program knows nothing any more of what it wrote below an address.
  GROWSTACK_UNWATCHED static void forget_below(Stack& stack, std::uintptr_t address) {
    for (std::uintptr_t at = stack.bounds.floor; at < address; at += page) {
      stack.written[(at - stack.bounds.floor) / page] = memory.at(at).content;
    }
  }

  GROWSTACK_UNWATCHED void check(const Stack& stack) const {
    if (stack.is_prepared) {
      bool is_guarded = true;
      for (std::uintptr_t at = stack.bounds.guard; at < stack.bounds.floor; at += page) {
        is_guarded = is_guarded && !memory.at(at).is_usable();
      }
      require(is_guarded, "a guard may not be touched");
    }
    if (!stack.is_open) {
      return;
    }
    const std::uintptr_t limit = strategy().limit(*stack.slot, kind_.layout);
    require(stack.bounds.floor <= limit && limit <= stack.bounds.base, "the limit is in the stack");
    require(!stack.is_exact || limit == stack.bounds.floor || !memory.at(limit - page).is_usable(),
            "below the limit a touch is an event");
    bool is_kept = true;
    bool is_committed = true;
    bool is_exact = true;
    for (std::size_t index = 0; index < stack.written.size(); ++index) {
      const std::uintptr_t at = stack.bounds.floor + index * page;
      const Page& found = memory.at(at);
      is_kept = is_kept && found.content == stack.written[index];
      is_committed = is_committed && (found.is_usable() || at < limit);
      is_exact = is_exact && (at >= limit || !found.is_usable());
    }
    require(is_kept, "nothing that was written is lost");
    require(is_committed, "all from the limit up may be touched");
    require(is_exact || !stack.is_exact || !kind_.description().limit_is_exact,
            "an exact limit is exact");
  }

  void open(Stack& stack) {
    if (!stack.is_prepared) {
      let_one_fail();
      const std::vector<Page> before = memory_if_one_fails();
      const int error = strategy().prepare(stack.bounds, kind_.layout);
      memory.calls_until_failure = 0;
      if (error != 0) {
        return require(is_all_as(before), "after a failure the slot is as before");
      }
      stack.is_prepared = true;
    }
    let_one_fail();
    const std::vector<Page> before = memory_if_one_fails();
    const int error = strategy().open(stack.bounds, kind_.layout, options_);
    memory.calls_until_failure = 0;
    if (error != 0) {
      return require(is_as(stack, before), "after a failure the slot is as before");
    }
    begin(stack);
  }

  static std::vector<Page> memory_if_one_fails() {
    return memory.calls_until_failure == 0 ? std::vector<Page>() : memory.pages;
  }
  GROWSTACK_UNWATCHED static bool is_all_as(const std::vector<Page>& before) {
    std::size_t same = 0;
    while (same < before.size() && before[same] == memory.pages[same]) {
      ++same;
    }
    return !before.empty() && same == before.size();
  }

  /// Whether the program could do no more, and no less, with the stack than before.
  GROWSTACK_UNWATCHED static bool is_as(const Stack& stack, const std::vector<Page>& before) {
    if (before.empty()) {
      return false;
    }
    for (std::uintptr_t at = stack.bounds.guard; at < stack.bounds.base; at += page) {
      const Page& was = before[(at - memory.first) / page];
      if (memory.at(at).is_usable() != was.is_usable() || memory.at(at).content != was.content) {
        return false;
      }
    }
    return true;
  }

  void begin(Stack& stack) {
    stack.is_open = true;
    stack.is_exact = true;
    std::fill(stack.written.begin(), stack.written.end(), 0U);
    handler::publish(*range_, index_of(stack),
                     {.base = stack.bounds.base,
                      .floor = stack.bounds.floor,
                      .guard = stack.bounds.guard,
                      .limit = strategy().first_limit(stack.bounds, options_),
                      .largest_step = kind_.policy.largest_step,
                      .name = kind_.description().name});
  }

  [[nodiscard]] std::uint32_t index_of(const Stack& stack) const {
    return static_cast<std::uint32_t>(&stack - stacks_.data());
  }
  void retire(Stack& stack) {
    handler::retire(*range_, index_of(stack));
    stack.is_open = false;
  }

  void close(Stack& stack) {
    retire(stack);
    let_one_fail();
    const bool is_soon = input_.flag();
    const int error = is_soon ? strategy().close_for_the_next(*stack.slot, kind_.layout)
                              : strategy().close(*stack.slot, kind_.layout);
    memory.calls_until_failure = 0;
    if (error != 0) {  // the slot is not used again; here it begins anew
      return begin_anew(stack);
    }
    require(resident(stack.bounds.floor, stack.bounds.base - stack.bounds.floor) == 0,
            "a stack that has ended leaves nothing");
  }

  static void begin_anew(Stack& stack) {
    stack.is_prepared = false;
    for (std::uintptr_t at = stack.bounds.guard; at < stack.bounds.base; at += page) {
      memory.at(at) = {};
    }
  }

  /// Writes to a page, as a program does: where that is forbidden, the handler is called.
  void write(Stack& stack, std::size_t index) {
    const std::uintptr_t address = stack.bounds.floor + index * page + input_.from(0, page - 1);
    Page& touched = memory.at(address);
    if (!touched.is_usable() && !grow(stack, address)) {
      return;  // the process dies with a report
    }
    require(touched.is_usable(), "growth lets the address be touched");
    touched.content = ++written_;
    stack.written[index] = written_;
  }

  [[nodiscard]] std::uintptr_t grown_to(const Stack& stack, std::uintptr_t address) const {
    return grown_limit(kind_.policy, stack.bounds.base, stack.bounds.floor, stack.slot->limit,
                       address, page);
  }

  bool grow(Stack& stack, std::uintptr_t address) {
    const std::uintptr_t limit = stack.slot->limit;
    require(address < limit, "what is committed raises no fault");
    stack.slot->growth_faults.fetch_add(1);
    handler::Step step{grown_to(stack, address), limit};
    let_one_fail();
    int error = strategy().commit(*stack.slot, kind_.layout, step);
    memory.calls_until_failure = 0;
    if (error != 0) {
      step.begin = address / page * page;
      error = strategy().commit(*stack.slot, kind_.layout, step);
    }
    require(error == 0 || memory.has_failed, "a stack grows unless the system refuses");
    if (error == 0) {
      handler::lower_limit(*stack.slot, step);
    }
    return error == 0;
  }

  Input& input_;
  StackOptions options_;
  Kind kind_;
  handler::Range* range_ = nullptr;
  std::array<Stack, slot_count> stacks_{};
  Stack* last_ = &stacks_[0];
  std::uint32_t written_ = 0;
};

}  // namespace

void try_input(Input& input) {
  const auto pages = [&](std::size_t most) { return input.magnitude(1, most) * page; };
  StackOptions options;
  options.strategy =
      input.one_of({Strategy::in_handler, Strategy::guard_markers, Strategy::demand_paging,
                    Strategy::demand_paging_huge, Strategy::locked});
  // Just large enough for huge pages, and for more than one page of page tables.
  const bool is_large = input.from(0, 3) == 0;
  options.reserve = pages(is_large ? 1300 : 60);
  options.guard = pages(is_large ? 600 : 20);
  options.policy.initial_commit = std::min(pages(600), options.reserve);
  options.policy.least_step = pages(16);
  options.policy.largest_step = options.policy.least_step + pages(300);
  options.policy.headroom = input.from(0, 2) * page;
  options.policy.huge_from = input.flag() ? 0 : pages(512);
  options.core_depth = pages(1300);
  Slots slots(input, options);
  if (input.flag()) {
    slots.open_all();
  }
  for (int steps = 0; steps < 24 && !input.is_over(); ++steps) {
    switch (input.from(0, 6)) {
      case 0:
        slots.open_or_close();
        break;
      case 1:
        slots.trim();
        break;
      case 2:
        slots.commit_ahead();
        break;
      case 3:
        slots.change_tenant();
        break;
      default:
        slots.touch();
    }
    slots.check_last();
  }
  slots.check_all();
}

}  // namespace growstack::inputs

// The system calls, about the model's memory.

namespace growstack::vm {

using inputs::change;
using inputs::Page;

int reserve(std::size_t, std::size_t, Pages, std::uintptr_t&) noexcept { return ENOMEM; }
int commit(std::uintptr_t begin, std::size_t size) noexcept {
  return change(begin, size, [](Page& each) { each.may_be_read = each.may_be_written = true; });
}
int let_read(std::uintptr_t begin, std::size_t size) noexcept {
  return change(begin, size, [](Page& each) {
    each.may_be_read = true;
    each.may_be_written = false;
  });
}
int decommit(std::uintptr_t begin, std::size_t size, Pages) noexcept {
  return change(begin, size, [](Page& each) { each = {}; });
}
int decommit_alone(std::uintptr_t begin, std::size_t size) noexcept {
  return decommit(begin, size, Pages::small);
}
int commit_anew(std::uintptr_t begin, std::size_t size, Pages) noexcept {
  return commit(begin, size);
}
int release(std::uintptr_t begin, std::size_t size) noexcept {
  return decommit(begin, size, Pages::small);
}
int reserve_uncharged(std::uintptr_t begin, std::size_t size, Pages pages) noexcept {
  return decommit(begin, size, pages);
}
int commit_uncharged(std::uintptr_t begin, std::size_t size, Pages pages) noexcept {
  const int error = reserve_uncharged(begin, size, pages);
  return error == 0 ? commit(begin, size) : error;
}
int set_apart(std::uintptr_t begin, std::size_t size) noexcept {
  return change(begin, size, [](Page&) {});
}
int leave_out_of_core(std::uintptr_t begin, std::size_t size) noexcept {
  return change(begin, size, [](Page&) {});
}
int discard(std::uintptr_t begin, std::size_t size) noexcept {
  return change(begin, size, [](Page& each) { each.content = 0; });
}
int want_huge_pages(std::uintptr_t begin, std::size_t size) noexcept {
  return change(begin, size, [](Page&) {});
}
int lock(std::uintptr_t begin, std::size_t size, bool) noexcept {
  return change(begin, size, [](Page&) {});
}
int install_markers(std::uintptr_t begin, std::size_t size) noexcept {
  return change(begin, size, [](Page& each) {
    each.has_marker = true;
    each.content = 0;
  });
}
int MarkerList::install(std::uintptr_t begin, std::size_t size) noexcept {
  return install_markers(begin, size);
}
int MarkerList::finish() noexcept { return 0; }
int remove_markers(std::uintptr_t begin, std::size_t size) noexcept {
  return change(begin, size, [](Page& each) { each.has_marker = false; });
}
void release_or_uncharge(std::uintptr_t begin, std::size_t size) noexcept {
  static_cast<void>(release(begin, size));
}
// No strategy that is tried here asks these.
std::uintptr_t mapping_start(std::uintptr_t) noexcept { return 0; }
std::uintptr_t lowest_of_growing(std::uintptr_t, std::uintptr_t end) noexcept { return end; }

}  // namespace growstack::vm

namespace growstack {

GROWSTACK_UNWATCHED std::size_t resident(std::uintptr_t begin, std::size_t size) noexcept {
  std::size_t bytes = 0;
  for (std::uintptr_t at = begin; at < begin + size; at += inputs::page) {
    bytes += inputs::memory.at(at).content != 0 ? inputs::page : 0;
  }
  return bytes;
}
GROWSTACK_UNWATCHED std::uintptr_t lowest_resident(std::uintptr_t begin,
                                                   std::size_t size) noexcept {
  std::uintptr_t at = begin;
  while (at < begin + size && inputs::memory.at(at).content == 0) {
    at += inputs::page;
  }
  return at;
}

bool handler::is_readable(std::uintptr_t address) noexcept {
  return inputs::memory.at(address).may_be_read;
}

}  // namespace growstack
