// One execution: runs the threads of a model, each up to the first step that its graph does not
// have yet.
#pragma once

#include "explorer.hpp"
#include "fiber.hpp"
#include "graph.hpp"
#include "run.hpp"
#include "thread_locals.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace growstack::explorer {

/// The next step of a thread.
struct Step {
  Kind kind = Kind::choice;
  Object object;
  std::memory_order order = std::memory_order_relaxed;
  Weight weight = Weight::ordinary;
  bool exclusive = false;
  std::uint64_t value = 0;  ///< to write, or how many choices there are
  /// Of a read that waits for some values.
  const FunctionRef<bool(std::uint64_t)>* is_wanted = nullptr;
  /// Of a read that becomes a read-modify-write.
  const FunctionRef<Change(std::uint64_t)>* decide = nullptr;

  [[nodiscard]] Address location() const noexcept {
    return reinterpret_cast<Address>(object.address);
  }
};

class Execution {
 public:
  Execution() = default;
  Execution(const Execution&) = delete;
  Execution& operator=(const Execution&) = delete;

  Graph graph;

  /// Addresses that some execution writes. What is nowhere written is no step to read: it is as
  /// good as constant.
  std::unordered_set<Address> written;

  /// Begins anew: the threads are to do what is in the graph.
  void begin(const Model& model);
  /// Runs all threads until each one has ended, waits, or asks for a step that the graph does not
  /// have. Returns false if the execution is over, because it has a fault or cannot be.
  [[nodiscard]] bool replay();

  /// Returns the first thread that asks for a step, or most_threads.
  [[nodiscard]] std::size_t asking() const noexcept;
  [[nodiscard]] const Step& asked(std::size_t thread) const noexcept {
    return *threads_[thread].step;
  }
  /// Lets it go on, now that the graph has the step.
  void answer(std::size_t thread) noexcept { threads_[thread].status = Status::runs; }

  /// When no thread asks: returns whether all have ended. Notes a fault if one waits for ever.
  [[nodiscard]] bool ends();
  /// Writes the last values where the objects are, so that check() sees them.
  void write_back() const;
  /// Puts back what write_back() replaced.
  void put_back() const;

  [[nodiscard]] const std::string& fault() const noexcept { return fault_; }
  void fail(std::string what);
  [[nodiscard]] std::string trace(const Model& model);
  /// Whether a thread was about to write what was taken for constant. Then all begins anew.
  [[nodiscard]] bool found_written() const noexcept { return found_written_; }

  // ---- what a running thread asks for: run.hpp and explorer.hpp ----
  [[nodiscard]] std::size_t running() const noexcept { return running_; }
  /// Makes a step and returns its event.
  Event perform(const Step& step);
  std::uint64_t change(Step read);
  [[nodiscard]] bool is_constant(Object object) const {
    return written.count(reinterpret_cast<Address>(object.address)) == 0;
  }
  /// Reads what is constant.
  [[nodiscard]] std::uint64_t read_constant(Object object);
  /// Takes note that it is not constant.
  void found_written(Object object);
  void stop_unless(bool holds, const char* what);
  void yield();
  void may_die() noexcept { threads_[running_].may_die = true; }
  [[nodiscard]] bool may_die_now() const noexcept { return threads_[running_].may_die; }
  [[noreturn]] void leave_for_ever();
  void may_wait_for_ever() noexcept { threads_[running_].may_wait_for_ever = true; }
  void mark_timed_wait() noexcept { threads_[running_].may_time_out = true; }
  void mark_untimed_wait() noexcept { threads_[running_].may_time_out = false; }
  void access_plain(const void* object, Access access);
  void release(Address begin, std::size_t bytes);
  void reuse(Address begin);
  void name(const void* object, std::string text);

 private:
  enum class Status : std::uint8_t { runs, waits_for_other, asks, blocked, yields, ended };
  struct Thread {
    Fiber fiber;
    ThreadLocals locals;
    Status status = Status::ended;
    const Step* step = nullptr;
    EventId awaited;         ///< waits_for_other: until that event has been replayed
    std::uint16_t done = 0;  ///< events
    std::uint16_t loop = 0;  ///< `done` at the last yield()
    bool may_die = false;
    bool may_time_out = false;
    bool may_wait_for_ever = false;
  };
  struct PlainAccess {
    const void* object;
    std::size_t thread;
    std::uint16_t done;
    Access access;
  };
  struct Released {
    Address begin;
    Address end;
  };

  [[nodiscard]] bool is_done(EventId id) const noexcept;
  void run(std::size_t thread);
  void leave(Status status);
  void settle(EventId id, const Step& step);
  void compare(const Event& event, const Step& step);
  void refuse_released(Address address);
  [[nodiscard]] bool waits_for_ever(std::size_t thread) const;
  [[nodiscard]] std::string name_of(Address address) const;
  [[nodiscard]] std::string describe(EventId id) const;

  std::array<Thread, most_threads> threads_{};
  std::array<std::function<void()>, most_threads> bodies_{};
  std::size_t thread_count_ = 0;
  std::size_t running_ = most_threads;
  bool is_over_ = false;
  bool found_written_ = false;
  std::string fault_{};
  std::vector<EventId> log_{};  ///< in the order in which it was replayed
  std::vector<PlainAccess> plain_{};
  std::vector<Released> released_{};
  std::vector<std::pair<Address, std::string>> names_{};
};

/// The one that runs, or null.
extern Execution* current;

}  // namespace growstack::explorer
