// Runs a small program of a few threads in every way in which the language lets it run: every
// interleaving, and every value that a load may still see. notes/proofs.md says what is modelled.
//
// The threads of a Model use atomic.hpp, or production code that modelled.hpp has been included
// before. They must do the same each time that they see the same values: no clock, no random
// numbers, no other threads. Data that is no atomic is ordinary memory; a Plain of atomic.hpp finds
// accesses to it that nothing orders. What a thread allocates with new lies at the same place each
// time, and its memory is not used again before the execution ends.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace growstack::explorer {

/// Threads that start together. There are seven at most.
struct Model {
  std::function<void()> set_up;  ///< before each execution: puts everything back, also globals
  std::vector<std::function<void()>> threads;
  std::function<void()> check;  ///< after each execution: what must hold then; may be empty
  std::function<void()> names;  ///< calls name(), for a trace; may be empty
};

struct Explored {
  std::uint64_t executions = 0;  ///< that differ in what was read, or in the order of writes
  std::uint64_t blocked = 0;     ///< were begun, but a loop in them could only go on in another one
  std::uint64_t steps = 0;       ///< of all of them
  std::string fault;             ///< empty: all executions hold
  std::string trace;             ///< the execution that has the fault, one step a line
  std::map<std::string, std::uint64_t> outcomes;  ///< how often check() noted each
};

/// Explores all executions, or those up to the first fault. What may be a fault: require(), a data
/// race, a thread that waits for ever, an access to released memory, an execution without an end
/// (500 steps). Throws std::runtime_error if there are more executions than `most_executions`.
[[nodiscard]] Explored explore(const Model& model, std::uint64_t most_executions = 20'000'000);

// ---- in threads and check() ---------------------------------------------------------------------

/// The execution has a fault unless `holds`.
void require(bool holds, const char* what);
/// Counts the execution as one with this outcome. In check().
void note(const char* outcome);
/// Gives the object at this address a name in traces. In Model::names().
void name(const void* object, std::string name);

// ---- in threads ---------------------------------------------------------------------------------

/// Returns each number below `count`, in an execution each.
std::uint64_t choose(std::uint64_t count);

/// Returns the number of the running thread, from 0.
std::uint64_t this_thread();

/// Says that the thread comes from a loop that only waits. If nothing has been written since the
/// last call, it goes on only in executions in which what it reads is different.
void yield();

enum class Timeout : bool { never, may_fire };
enum class Woken : std::uint8_t { is_different, by_wake, by_timeout };
/// futex(2): waits while the 32 bits there are `expected`, until wake(). A wait with a timeout ends
/// in one execution by the timeout, in another one not.
Woken wait_on(const void* word, std::uint32_t expected, Timeout timeout);
/// Wakes all that wait on the word.
void wake(const void* word);

/// Says that the thread serves others: it may wait for ever, as long as they do not.
void may_wait_for_ever();

/// membarrier(2): all threads pass a fence.
void barrier_everywhere();

/// From here on the thread may end before any of its writes, and while it waits, without a trace of
/// what is in its stack: as one that is killed.
void may_die();
/// Ends the thread that way, now.
[[noreturn]] void die();
/// Returns whether a thread has died by now. Whoever sees that sees all that it had done.
bool has_died(std::uint64_t thread);

/// Says that nobody may access these bytes any more.
void release(const void* begin, std::size_t bytes);
/// Says that they may again.
void reuse(const void* begin, std::size_t bytes);

}  // namespace growstack::explorer
