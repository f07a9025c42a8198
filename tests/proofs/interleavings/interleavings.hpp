// Runs whole parts of the library, as they are, in every interleaving of a few threads.
//
// The sources are compiled with -fsanitize=thread, and hooks.cpp stands in for the runtime of that
// sanitizer: each atomic operation, mutex and system call that makes threads wait is a step, and
// each access to ordinary memory is checked. search.cpp runs one thread at a time and tries all
// orders of steps that depend on each other. races.cpp finds accesses that nothing orders.
//
// A load reads the value that was stored last. That is enough for data which locks protect, because
// races.cpp heeds the memory orders: a lock that publishes too little is a race on its data.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace growstack::interleavings {

/// The library remembers things in each thread. So each thread of a model has thread-local
/// variables and thread-specific data of its own, which begin anew in each execution.
struct Model {
  std::function<void()> set_up;                ///< before each execution, in the calling thread
  std::vector<std::function<void()>> threads;  ///< at most seven
  /// After each execution, and after the ends of the threads.
  std::function<void()> check;
  /// When no thread has a step left, and before they end. May be empty.
  std::function<void()> at_rest = {};
};

struct Explored {
  std::uint64_t executions = 0;
  std::uint64_t redundant = 0;  ///< were begun, but differ from none of the others
  std::uint64_t steps = 0;
  std::string fault;  ///< empty: all executions hold
  std::string trace;  ///< of the execution with the fault: one step a line, with its code address
};

/// Runs all executions, or those up to the first fault: require(), a race, an access to freed
/// memory, threads that wait for each other, or 20,000 steps. After a fault this process can run no
/// other model, because threads stay where they were.
[[nodiscard]] Explored explore(const Model& model);

/// The execution has a fault unless `holds`. Any code of a model.
void require(bool holds, const char* what);

/// While it exists, what the thread does is no part of the model: no step, and not checked.
class Aside {
 public:
  Aside() noexcept;
  ~Aside();
  Aside(const Aside&) = delete;
  Aside& operator=(const Aside&) = delete;

 private:
  bool before_;
};

/// Ends what the calling thread has: runs the destructors of its thread-specific data, as the end
/// of a thread does. Otherwise they run after all steps.
void end_thread();

/// fork(2), with the handlers of pthread_atfork(3). In some executions the parent goes on. In
/// others the child does: the other threads are gone, child() runs, and the execution ends.
void fork_here(const std::function<void()>& child);

}  // namespace growstack::interleavings
