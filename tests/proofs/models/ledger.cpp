#include "models/ledger.hpp"

#include "arenas/arena.hpp"
#include "interleavings/interleavings.hpp"
#include "stacks/stack_access.hpp"

#include <growstack/handler/ranges.hpp>
#include <growstack/handler/report.hpp>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <list>
#include <utility>
#include <vector>

namespace growstack {
namespace {

using interleavings::Aside;
using interleavings::require;

/// One slot.
struct Line {
  bool lives = false;    ///< between publish() and retire()
  bool is_used = false;  ///< a Tenancy has it
  /// Stands for what code writes into the memory of the stack. Not aside: an access that nothing
  /// orders with the last tenant's is a race.
  int contents = 0;
};

/// Address space, and the range that was registered there.
struct Reservation {
  std::uintptr_t begin = 0;
  std::size_t size = 0;
  std::size_t number = 0;  ///< how many were made before
  bool is_registered = false;
  handler::Range range{};
  std::vector<handler::SlotRecord> slots{};
  std::vector<std::atomic<std::uint32_t>> pins{};
  std::vector<Line> lines{};
};

/// Far from all addresses that a process has.
constexpr std::uintptr_t first_address = std::uintptr_t{1} << 50;

struct Book {
  std::list<Reservation> reservations;
  std::uintptr_t next_address = first_address;
  std::size_t made = 0;
  std::size_t open = 0;
  std::size_t most_open = SIZE_MAX;
  std::uint64_t now = 1'000'000'000;  ///< nanoseconds
};
Book book;

Reservation& reservation_at(std::uintptr_t address) {
  const auto found = std::find_if(
      book.reservations.begin(), book.reservations.end(), [&](const Reservation& each) {
        return each.begin <= address && address - each.begin < each.size;
      });
  require(found != book.reservations.end(), "memory is used that is not reserved");
  return *found;
}

Reservation& reservation_of(const handler::SlotRecord& slot) {
  const auto found = std::find_if(book.reservations.begin(), book.reservations.end(),
                                  [&](const Reservation& each) {
                                    return each.is_registered && each.slots.data() <= &slot &&
                                           &slot < each.slots.data() + each.slots.size();
                                  });
  require(found != book.reservations.end(), "a stack is used whose arena has ended");
  return *found;
}

Line& line_of(const handler::SlotRecord& slot) {
  Reservation& reservation = reservation_of(slot);
  return reservation.lines[static_cast<std::size_t>(&slot - reservation.slots.data())];
}

void require_unused(const Line& line) {
  require(!line.is_used, "the memory of a stack is given back while somebody uses the stack");
}

void require_unused(std::uintptr_t begin, std::size_t size) {
  const Reservation& reservation = reservation_at(begin);
  for (std::size_t index = 0; index < reservation.lines.size(); ++index) {
    const handler::SlotRecord& slot = reservation.slots[index];
    if (reservation.lines[index].lives &&
        slot.guard.load(std::memory_order_relaxed) < begin + size &&
        begin < slot.base.load(std::memory_order_relaxed)) {
      require_unused(reservation.lines[index]);
    }
  }
}

/// Returns the line, after a change of the memory of its stack.
void change_contents(const handler::SlotRecord& slot) {
  int* contents = nullptr;
  {
    const Aside aside;
    Line& line = line_of(slot);
    require_unused(line);
    contents = &line.contents;
  }
  *contents = 0;
}

/// Grows by faults, and does nothing to memory but note it.
class Noted final : public Implementation {
 public:
  constexpr Noted(const StrategyDescription& description, bool stays_open) noexcept
      : Implementation(description), stays_open_(stays_open) {}

  [[nodiscard]] int open(const Bounds& /*bounds*/, const Layout& /*layout*/,
                         const StackOptions& /*options*/) const noexcept override {
    const Aside aside;
    return book.open < book.most_open ? 0 : ENOMEM;
  }
  [[nodiscard]] int commit(const handler::SlotRecord& slot, const Layout& /*layout*/,
                           handler::Step /*step*/) const noexcept override {
    const Aside aside;
    require(line_of(slot).lives, "memory is committed where no stack lives");
    return 0;
  }
  [[nodiscard]] int trim(handler::SlotRecord& slot, const Layout& /*layout*/,
                         std::uintptr_t keep_from) const noexcept override {
    change_contents(slot);
    if (slot.limit.load(std::memory_order_relaxed) < keep_from) {
      slot.limit.store(keep_from, std::memory_order_release);
    }
    return 0;
  }
  [[nodiscard]] int discard(std::uintptr_t begin, std::size_t size) const noexcept override {
    const Aside aside;
    require_unused(begin, size);
    return 0;
  }
  [[nodiscard]] int discard_in_row(std::uintptr_t begin,
                                   std::uintptr_t end) const noexcept override {
    const Aside aside;
    require_unused(begin, end - begin);
    return stays_open_ ? 0 : ENOTSUP;
  }
  [[nodiscard]] int close(const handler::SlotRecord& /*slot*/,
                          const Layout& /*layout*/) const noexcept override {
    return 0;
  }

 private:
  bool stays_open_;
};

constexpr StrategyDescription description_of(Strategy strategy, std::string_view name) noexcept {
  return {.strategy = strategy,
          .name = name,
          .description = "noted in the ledger",
          .least_kernel = "any",
          .event = GrowthEvent::segmentation_fault,
          .limit_is_exact = true,
          .charge = DataCharge::as_it_grows};
}
constexpr StrategyDescription closing = description_of(ledger::closes, "in_handler");
constexpr StrategyDescription staying = description_of(ledger::stays_open, "guard_markers");
constinit const Noted closes_stacks{closing, false};
constinit const Noted keeps_open{staying, true};

}  // namespace

const Implementation* implementation(Strategy strategy) noexcept {
  return strategy == ledger::stays_open ? &keeps_open : &closes_stacks;
}
const StrategyDescription* describe(Strategy strategy) noexcept {
  return &implementation(strategy)->description();
}

// ---- for models ---------------------------------------------------------------------------------

void ledger::begin() {
  book.reservations.clear();
  book.next_address = first_address;
  book.open = 0;
  book.most_open = SIZE_MAX;
}

void ledger::limit_stacks(std::size_t most) { book.most_open = most; }

void ledger::let_time_pass(std::uint64_t nanoseconds) {
  const Aside aside;
  book.now += nanoseconds;
}

int ledger::grow(const Stack& stack, std::size_t depth) {
  const OpenSlot slot = StackAccess::slot(stack);
  handler::SlotRecord& record = slot.record();
  const handler::Range* range = nullptr;
  {
    const Aside aside;
    range = &reservation_of(record).range;
  }
  const handler::Step step = range->operations->plan(*range, record, slot.base() - depth);
  if (step.begin == step.end) {
    return 0;  // another thread was first
  }
  const int error = range->operations->commit(*range, record, step);
  if (error == 0) {
    std::uintptr_t limit = record.limit.load(std::memory_order_relaxed);
    while (step.begin < limit &&
           !record.limit.compare_exchange_weak(limit, step.begin, std::memory_order_release)) {
    }
    record.high_water.store(record.limit.load(std::memory_order_relaxed),
                            std::memory_order_release);
    record.marks.fetch_or(handler::grown_mark, std::memory_order_release);
    record.growth_faults.fetch_add(1, std::memory_order_relaxed);
  }
  return error;
}

std::size_t ledger::open_stacks() {
  const Aside aside;
  return book.open;
}

std::size_t ledger::reservations() {
  const Aside aside;
  return book.reservations.size();
}

namespace {

template <class Visit>
void visit_stacks(Visit visit) {
  for (Reservation& each : book.reservations) {
    for (std::size_t index = 0; index < each.lines.size(); ++index) {
      if (each.lines[index].lives) {
        visit(each.lines[index], OpenSlot(&each.slots[index]));
      }
    }
  }
}

bool is_in_pool(OpenSlot slot) {
  const Arena& arena = slot.arena();
  return arena.warm.contains(slot.index()) || arena.deep.contains(slot.index()) ||
         arena.cold.contains(slot.index());
}

}  // namespace

bool ledger::is_from_after(const Stack& stack, std::size_t reservations_so_far) {
  const Aside aside;
  return reservation_of(StackAccess::slot(stack).record()).number >= reservations_so_far;
}

std::size_t ledger::reservations_so_far() {
  const Aside aside;
  return book.made;
}

std::size_t ledger::committed() {
  const Aside aside;
  std::size_t bytes = 0;
  visit_stacks([&](const Line&, OpenSlot slot) { bytes += slot.base() - slot.limit(); });
  return bytes;
}

bool ledger::has_deep_stack_unmarked() {
  bool found = false;
  visit_stacks([&](const Line& line, OpenSlot slot) {
    const std::size_t kept = slot.arena().kept->of(slot.name_number());
    const bool is_marked = (slot.record().marks.load() & look_mark) != 0;
    found = found || (!line.is_used && !is_marked && slot.base() - slot.limit() > kept);
  });
  return found;
}

std::size_t ledger::give_back_lost() {
  std::vector<OpenSlot> lost;
  visit_stacks([&](Line& line, OpenSlot slot) {
    if (!is_in_pool(slot)) {
      line.is_used = false;
      lost.push_back(slot);
    }
  });
  for (const OpenSlot slot : lost) {
    static_cast<void>(StackAccess::stack_in(slot));
  }
  return lost.size();
}

ledger::Tenancy::Tenancy(Stack stack) : stack_(std::move(stack)) {
  Line* line = nullptr;
  {
    const Aside aside;
    line = &line_of(StackAccess::slot(stack_).record());
    require(line->lives, "a stack is handed out that was ended");
    require(!line->is_used, "a stack has two tenants");
    line->is_used = true;
  }
  line->contents = 1;
}

ledger::Tenancy::~Tenancy() {
  const OpenSlot slot = StackAccess::slot(stack_);
  if (slot) {
    Line* line = nullptr;
    {
      const Aside aside;
      line = &line_of(slot.record());
    }
    line->contents = 2;
    const Aside aside;
    line->is_used = false;
  }
}

// ---- address space ------------------------------------------------------------------------------

int vm::reserve(std::size_t size, std::size_t alignment, Pages /*pages*/,
                std::uintptr_t& begin) noexcept {
  const Aside aside;
  begin = book.next_address;
  book.next_address += round_up(size, alignment) + alignment;
  book.reservations.emplace_back();
  book.reservations.back().begin = begin;
  book.reservations.back().size = size;
  book.reservations.back().number = book.made++;
  return 0;
}

/// An arena gives the ends of its address space back at once, where no slot is. They are of no
/// interest.
int vm::release(std::uintptr_t begin, std::size_t size) noexcept {
  const Aside aside;
  if (size != 0 && !reservation_at(begin).is_registered) {
    book.reservations.remove_if([&](const Reservation& each) {
      return each.begin <= begin && begin - each.begin < each.size;
    });
  }
  return 0;
}

void vm::release_or_uncharge(std::uintptr_t begin, std::size_t size) noexcept {
  static_cast<void>(release(begin, size));
}

int vm::commit(std::uintptr_t /*begin*/, std::size_t /*size*/) noexcept { return 0; }

int vm::discard(std::uintptr_t begin, std::size_t size) noexcept {
  const Aside aside;
  require_unused(begin, size);
  return 0;
}

int vm::decommit(std::uintptr_t begin, std::size_t size, Pages /*pages*/) noexcept {
  return vm::discard(begin, size);
}

// ---- ranges and slots ---------------------------------------------------------------------------

namespace handler {

int add_range(const RangeDescription& description, Range*& range) noexcept {
  const Aside aside;
  Reservation& reservation = reservation_at(description.begin);
  const std::size_t count = (description.size - description.first_slot) / description.slot_size;
  reservation.slots = std::vector<SlotRecord>(count);
  reservation.pins = std::vector<std::atomic<std::uint32_t>>(count);
  reservation.lines.resize(count);
  reservation.is_registered = true;
  range = &reservation.range;
  range->operations = description.operations;
  range->owner = description.owner;
  range->slots = reservation.slots.data();
  range->pins = reservation.pins.data();
  range->capacity = static_cast<std::uint32_t>(count);
  return 0;
}

void remove_range(Range& range) noexcept {
  const Aside aside;
  for (Reservation& each : book.reservations) {
    if (&each.range == &range) {
      each.is_registered = false;
      require(std::none_of(each.lines.begin(), each.lines.end(),
                           [](const Line& line) { return line.lives; }),
              "an arena ends in which a stack lives");
    }
  }
}

void publish(Range& range, std::uint32_t index, const SlotDescription& description) noexcept {
  SlotRecord& slot = range.slots[index];
  {
    const Aside aside;
    Line& line = line_of(slot);
    require(!line.lives, "a slot gets a stack that has one");
    line.lives = true;
    ++book.open;
    slot.base.store(description.base, std::memory_order_relaxed);
    slot.floor.store(description.floor, std::memory_order_relaxed);
    slot.guard.store(description.guard, std::memory_order_relaxed);
    slot.limit.store(description.limit, std::memory_order_relaxed);
    slot.high_water.store(description.limit, std::memory_order_relaxed);
    slot.growth_faults.store(0, std::memory_order_relaxed);
    slot.owner.store(range.owner, std::memory_order_relaxed);
    slot.marks.store(0, std::memory_order_relaxed);
  }
  change_contents(slot);
  slot.generation.fetch_add(1, std::memory_order_release);
}

void retire(Range& range, std::uint32_t index) noexcept {
  SlotRecord& slot = range.slots[index];
  change_contents(slot);
  slot.generation.fetch_add(1, std::memory_order_seq_cst);
  const Aside aside;
  Line& line = line_of(slot);
  require(line.lives, "a stack is ended twice");
  line.lives = false;
  --book.open;
}

}  // namespace handler
}  // namespace growstack

/// The clock stands still unless the model moves it.
extern "C" int clock_gettime(clockid_t /*clock*/, timespec* now) noexcept {
  const growstack::interleavings::Aside aside;
  constexpr std::uint64_t second = 1'000'000'000;
  now->tv_sec = static_cast<time_t>(growstack::book.now / second);
  now->tv_nsec = static_cast<long>(growstack::book.now % second);
  return 0;
}
