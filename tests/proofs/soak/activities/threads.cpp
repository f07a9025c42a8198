// Threads whose own stack grows, and threads that are attached once more.
#include <growstack/growstack.hpp>

#include "proofs/soak/activities/list.hpp"
#include "proofs/soak/counts.hpp"
#include "proofs/soak/last_words.hpp"
#include "proofs/soak/use_stack.hpp"
#include "proofs/soak/world.hpp"
#include "support/alternate_stack.hpp"

#include <pthread.h>

#include <csignal>

namespace growstack::soak {
namespace {

/// What runs in the new thread, while the worker waits for it.
void live_there(Worker& worker) {
  set_this_worker(&worker);
  use_running_stack(worker);
}

void run_by_create_thread(Worker& worker, const StackOptions& options) {
  Stack stack(options);
  pthread_t thread{};
  const int error = create_thread(
      &thread, stack, nullptr,
      [](void* of) -> void* {
        live_there(*static_cast<Worker*>(of));
        return nullptr;
      },
      &worker);
  if (error != 0) {
    wrong("create_thread: %d", error);
  }
  pthread_join(thread, nullptr);
}

}  // namespace

void run_a_thread(Worker& worker) {
  StackOptions options = some_options(worker.random);
  options.reserve += least_thread_stack();
  worker.note("runs a thread, by strategy", static_cast<std::size_t>(options.strategy));
  counts.threads.fetch_add(1, std::memory_order_relaxed);
  const Tenant* const before = worker.tenant.exchange(nullptr);
  if (worker.random.one_in(4)) {
    run_by_create_thread(worker, options);
  } else {
    Thread(options, [&worker] { live_there(worker); }).join();
  }
  worker.tenant = before;
}

void attach_anew(Worker& worker) {
  if (current_stack().kind != StackKind::thread) {
    return;  // the running stack may grow meanwhile
  }
  worker.note("takes its alternate stack away");
  if (!testing::sanitized) {
    testing::take_alternate_stack_away();
  }
  sigset_t faults;
  sigemptyset(&faults);
  sigaddset(&faults, SIGSEGV);
  sigaddset(&faults, SIGBUS);
  pthread_sigmask(SIG_BLOCK, &faults, nullptr);
  attach_thread();
  worker.note("is attached again");
  counts.attachments.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace growstack::soak
