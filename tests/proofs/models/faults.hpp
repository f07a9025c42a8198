// What the models of faults have in common: the real sources of a fault and of the helper, and the
// kernel and the memory that these talk to.
#pragma once

#include "explorer/modelled.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <new>
#include <string>

namespace modelled {

/// Descriptors: pipe 0 has the ends 10 and 11, pipe 1 the ends 12 and 13.
inline constexpr int first_descriptor = 10;
inline constexpr int read_end(int pipe) noexcept { return first_descriptor + 2 * pipe; }
inline constexpr int write_end(int pipe) noexcept { return read_end(pipe) + 1; }

/// Answers fstat(2): each descriptor stands for a file of its own.
inline int answer_fstat(int descriptor, struct stat* found) noexcept {
  found->st_dev = 1;
  found->st_ino = static_cast<ino_t>(descriptor);
  return 0;
}
/// No signal is ever pending.
inline int answer_sigpending(sigset_t* pending) noexcept { return sigemptyset(pending); }
/// All threads run on one processor.
inline constexpr int the_processor = 0;
inline int sched_getcpu() noexcept { return the_processor; }

/// Memory comes from the heap of the running thread, so it is not used again. No call is refused.
inline void* mmap(void* /*where*/, ::std::size_t bytes, int /*protection*/, int /*flags*/,
                  int /*file*/, off_t /*offset*/) {
  void* const memory = ::operator new (bytes, ::std::align_val_t{4096});
  return ::std::memset(memory, 0, bytes);
}
inline int mprotect(void* /*begin*/, ::std::size_t /*bytes*/, int /*protection*/) noexcept {
  return 0;
}

}  // namespace modelled

// Their arguments would find the real ones.
#define fstat answer_fstat
#define sigpending answer_sigpending

// A model looks at what these classes keep to themselves.
#ifdef __clang__
#pragma clang diagnostic ignored "-Wkeyword-macro"  // for all of the program
#endif
#define private public
#include "threads/helper.hpp"
#undef private

#include "anywhere/own_descriptor.cpp"
#include "fault/look_up.cpp"
#include "fault/request.cpp"
#include "process/ranges.cpp"
#include "threads/helper.cpp"

constinit const modelled::handler::DebuggerDescription growstack_debug{};

namespace modelled {

using namespace handler;

inline constexpr ::std::size_t most_model_threads = 7;

// ---- the words that a fork wipes ----------------------------------------------------------------

alignas(ForkWiped) inline ::std::byte wiped_memory[sizeof(ForkWiped)];
inline ForkWiped& wiped() noexcept { return *reinterpret_cast<ForkWiped*>(wiped_memory); }

namespace handler {
constinit explorer::Mutex life_cycle;
LifeCycleLock::LifeCycleLock() noexcept : held_(life_cycle) {}
void name_memory(::std::uintptr_t, ::std::size_t, const char*) noexcept {}
int failed(SystemCall) noexcept { return errno; }
void* map_own_memory(::std::size_t bytes, ::std::size_t) noexcept {
  return mmap(nullptr, bytes, 0, 0, -1, 0);
}
void* map_fork_wiped(::std::size_t bytes) noexcept { return mmap(nullptr, bytes, 0, 0, -1, 0); }
ForkWiped* fork_wiped() noexcept { return &wiped(); }
const cpu_set_t& processors_at_start() noexcept {
  static const cpu_set_t processors = [] {
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(the_processor, &only);
    return only;
  }();
  return processors;
}
}  // namespace handler

// ---- pipes --------------------------------------------------------------------------------------

/// A pipe with one reader. The state is one word, as if under the lock of the kernel: how many
/// messages were written, and by which threads. What is in them stands in `sent`, because each
/// thread's own messages come in order.
struct Pipe {
  static constexpr unsigned number_bits = 4;
  static constexpr ::std::uint64_t count_mask = 15;
  static constexpr ::std::uint64_t reader_has_closed = ::std::uint64_t{1} << 63U;
  static constexpr ::std::uint64_t writers_have_closed = ::std::uint64_t{1} << 62U;

  explorer::Atomic<::std::uint64_t> state;
  ::std::uint64_t reader = 0;                             ///< the thread
  ::std::uint64_t taken = 0;                              ///< messages; the reader's
  ::std::array<unsigned, most_model_threads> taken_of{};  ///< of each writer; the reader's
};

inline constexpr ::std::size_t most_messages = 8;
inline ::std::array<Pipe, 2> pipes;
inline ::std::array<::std::array<Request, most_messages>, most_model_threads> sent;
inline ::std::array<unsigned, most_model_threads> sent_count;
/// Whether a pipe may be found full.
inline bool pipe_may_be_full = false;

inline long refuse(int error) noexcept {
  errno = error;
  return -1;
}

inline Pipe& pipe_of(long descriptor) noexcept {
  return pipes[static_cast<::std::size_t>((descriptor - first_descriptor) / 2)];
}

inline long write_message(Pipe& pipe, const Request& request) {
  const auto self = explorer::this_thread();
  if (explorer::has_died(pipe.reader)) {
    return refuse(EPIPE);
  }
  if (pipe_may_be_full && explorer::choose(2) == 1) {
    return refuse(EAGAIN);
  }
  sent[self][sent_count[self]++] = request;
  ::std::uint64_t found = pipe.state.load(::std::memory_order_acquire);
  ::std::uint64_t next = 0;
  do {
    if ((found & Pipe::reader_has_closed) != 0) {
      return refuse(EPIPE);
    }
    const ::std::uint64_t count = found & Pipe::count_mask;
    next = (found + 1) | (self << (Pipe::number_bits * (count + 1)));
  } while (!pipe.state.compare_exchange_strong(found, next, ::std::memory_order_acq_rel));
  return sizeof request;
}

inline long read_messages(Pipe& pipe, Request* batch) {
  const ::std::uint64_t state = explorer::wait_until(
      {&pipe.state, sizeof pipe.state}, ::std::memory_order_acquire, [&](::std::uint64_t found) {
        return (found & Pipe::count_mask) > pipe.taken || (found & Pipe::writers_have_closed) != 0;
      });
  long bytes = 0;
  for (; pipe.taken < (state & Pipe::count_mask); bytes += sizeof(Request)) {
    const ::std::uint64_t writer = (state >> (Pipe::number_bits * ++pipe.taken)) & 15U;
    *batch++ = sent[writer][pipe.taken_of[writer]++];
  }
  return bytes;
}

inline long answer(long number, const Arguments& arguments) {
  switch (number) {
    case SYS_write:
      return write_message(pipe_of(arguments[0]), *reinterpret_cast<const Request*>(arguments[1]));
    case SYS_read:
      return read_messages(pipe_of(arguments[0]), reinterpret_cast<Request*>(arguments[1]));
    case SYS_tgkill:
      return explorer::has_died(static_cast<::std::uint64_t>(arguments[1] - first_thread_id))
                 ? refuse(ESRCH)
                 : 0;
    case SYS_sched_setaffinity:
      // 0 would be the calling thread.
      explorer::require(arguments[0] != 0, "a faulting thread moves itself to other processors");
      return 0;
    case SYS_sched_getattr:
    case SYS_sched_setattr:
    case SYS_rt_sigtimedwait:
    case SYS_rt_sigprocmask:
      return 0;
    default:
      explorer::require(false, "a system call that the model does not know");
      return -1;
  }
}

// ---- memory -------------------------------------------------------------------------------------

/// A slot's addresses, as a small number tells them: the block is the second one of the table.
inline constexpr ::std::uintptr_t slot_begin = range_alignment;
inline constexpr ::std::uintptr_t slot_bytes = 16 * 4096;

inline ::std::array<handler::TableEntry, 4> table_memory;
inline Range range_memory;
inline ::std::array<SlotRecord, 2> slot_memory;
inline ::std::array<explorer::Atomic<::std::uint32_t>, 2> pin_memory;

/// To whom the memory of each slot belongs. No tenant is 0.
inline ::std::array<explorer::Plain<::std::uintptr_t>, 2> tenants;
/// Which requests have been committed, by number.
inline ::std::array<explorer::Atomic<int>, 8> committed;
/// Whether the memory may be refused to the helper.
inline bool helper_may_be_refused = false;

/// A step of a model: who asks, as the tenant of which slot, and the number of the request.
inline Step step_for(::std::uintptr_t tenant, ::std::uintptr_t number) noexcept {
  return {.begin = tenant, .end = number};
}

inline int commit(const Range& range, const SlotRecord& slot, Step step) noexcept {
  explorer::require(&range == &range_memory, "a commit in no range");
  const auto index = static_cast<::std::size_t>(&slot - range.slots);
  explorer::require(tenants[index] == step.begin, "a commit reaches a range of another tenant");
  if (helper_may_be_refused && explorer::this_thread() == pipes[0].reader &&
      explorer::choose(2) == 1) {
    return ENOMEM;
  }
  committed[step.end].store(1, ::std::memory_order_relaxed);
  return 0;
}

inline const Operations operations{.plan = nullptr, .commit = commit, .on_overflow = nullptr};

inline void name_all() {
  explorer::name(&wiped().helper_runs, "helper_runs");
  explorer::name(&wiped().helper_id, "helper_id");
  explorer::name(&wiped().helper_processor, "helper_processor");
  explorer::name(&wiped().requests_left, "requests_left");
  explorer::name(&wiped().symbol_state, "symbol_state");
  explorer::name(&wiped().next_look, "next_look");
  explorer::name(&wiped().looks, "looks");
  explorer::name(&wiped().idle_wanted, "idle_wanted");
  explorer::name(&wiped().idle_served, "idle_served");
  for (::std::size_t index = 0; index < ForkWiped::reply_count; ++index) {
    Reply& reply = wiped().replies[index];
    const auto named = [&](const void* member, const char* what) {
      explorer::name(member, "replies[" + ::std::to_string(index) + "]." + what);
    };
    named(&reply.taken, "taken");
    named(&reply.word, "word");
    named(&reply.slot, "slot");
  }
  for (::std::size_t index = 0; index < slot_memory.size(); ++index) {
    explorer::name(&slot_memory[index].generation, "generation " + ::std::to_string(index));
    explorer::name(&pin_memory[index], "pins " + ::std::to_string(index));
  }
  explorer::name(&pipes[0].state, "pipe 0");
  explorer::name(&pipes[1].state, "pipe 1");
}

/// Puts everything back: one range with two slots that live, no helper.
inline void set_up_faults() {
  answer_call = answer;
  timeouts_fired = {};
  new (wiped_memory) ForkWiped;
  handler::free_ranges = nullptr;
  new (&handler::records) handler::RecordStore{handler::map_ordinary};
  new (&handler::pin_words) handler::RecordStore{handler::map_fork_wiped};
  new (&handler::ranges_in_use) explorer::Atomic<::std::size_t>{0};
  wiped().process.store(1, ::std::memory_order_relaxed);
  wiped().helper_processor.store(the_processor + 1, ::std::memory_order_relaxed);
  for (Pipe& pipe : pipes) {
    new (&pipe) Pipe;
  }
  pipes[0].reader = 1;
  pipes[1].reader = 2;
  sent = {};
  sent_count = {};
  new (&table_memory) handler::TableEntry[4]{};
  new (&slot_memory) SlotRecord[2];
  new (&pin_memory) explorer::Atomic<::std::uint32_t>[2] {};
  new (&committed) explorer::Atomic<int>[8] {};
  Range& range = *new (&range_memory) Range;
  range.first_slot.store(slot_begin, ::std::memory_order_relaxed);
  range.slot_size.store(slot_bytes, ::std::memory_order_relaxed);
  range.slot_count.store(2, ::std::memory_order_relaxed);
  range.reciprocal.store((::std::uint64_t{1} << 63U), ::std::memory_order_relaxed);
  range.reciprocal_shift.store(4, ::std::memory_order_relaxed);
  range.operations = &operations;
  range.committer = Committer::helper;
  range.slots = slot_memory.data();
  range.pins = pin_memory.data();
  range.capacity = 2;
  for (::std::size_t index = 0; index < slot_memory.size(); ++index) {
    SlotRecord& slot = slot_memory[index];
    const ::std::uintptr_t begin = slot_begin + index * slot_bytes;
    slot.guard.store(begin, ::std::memory_order_relaxed);
    slot.floor.store(begin, ::std::memory_order_relaxed);
    slot.base.store(begin + slot_bytes, ::std::memory_order_relaxed);
    slot.limit.store(begin + slot_bytes, ::std::memory_order_relaxed);
    slot.generation.store(1, ::std::memory_order_relaxed);
    tenants[index] = index + 1;
  }
  table_memory[slot_begin >> range_shift].store(&range, ::std::memory_order_relaxed);
  table.store(table_memory.data(), ::std::memory_order_relaxed);
  static_cast<void>(request_pipe.set(write_end(0)));
}

}  // namespace modelled
