#include "subjects/any_stack.hpp"

#include "parts/descent.hpp"
#include "parts/errors.hpp"
#include "subjects/subject.hpp"
#include "subjects/suspended.hpp"
#include "subjects/threads.hpp"

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include <boost/context/fixedsize_stack.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>

#include <sys/mman.h>

#include <exception>
#include <utility>

namespace growstack::compare {
namespace {

using bench::address_of;

class StrategyStack final : public AnyStack {
 public:
  StrategyStack(Strategy strategy, const StackRequest& request)
      : stack_({.reserve = request.reserve,
                .guard = request.guard,
                .policy = request.policy,
                .strategy = strategy,
                .name = "compared"}) {}

  [[nodiscard]] std::uintptr_t base() const override { return address_of(stack_.base()); }
  [[nodiscard]] std::uintptr_t floor() const override { return address_of(stack_.floor()); }
  [[nodiscard]] std::uintptr_t limit() const override { return address_of(stack_.limit()); }
  [[nodiscard]] std::uint64_t growth_events() const override {
    return stack_.counters().growth_faults;
  }
  [[nodiscard]] std::size_t high_water() const override { return stack_.high_water_mark(); }
  [[nodiscard]] std::size_t guard() const override {
    const std::optional<StackBounds> bounds = stack_bounds(stack_.floor());
    return bounds ? address_of(bounds->floor) - address_of(bounds->guard) : 0;
  }

  void run(const std::function<void()>& body) override { call(stack_, body); }
  std::error_code trim() override { return stack_.trim(); }

 private:
  Stack stack_;
};

/// Runs body on a thread of its own, to its end. Throws what body throws.
void run_on_thread(ThreadAttributes& attributes, const std::function<void()>& body) {
  struct Errand {
    const std::function<void()>& body;
    std::exception_ptr thrown;
  } errand{body, nullptr};
  pthread_t thread{};
  const auto do_errand = [](void* argument) -> void* {
    auto& it = *static_cast<Errand*>(argument);
    try {
      it.body();
    } catch (...) {
      it.thrown = std::current_exception();
    }
    return nullptr;
  };
  bench::require_no_error(pthread_create(&thread, attributes.get(), do_errand, &errand),
                          "pthread_create");
  bench::require_no_error(pthread_join(thread, nullptr), "pthread_join");
  if (errand.thrown) {
    std::rethrow_exception(errand.thrown);
  }
}

/// The stack that glibc makes for a thread, and takes away with it.
class GlibcThread final : public AnyStack {
 public:
  explicit GlibcThread(const StackRequest& request)
      : guard_(handler::page_up(request.guard)),
        attributes_(handler::page_up(request.reserve), guard_) {}

  [[nodiscard]] std::uintptr_t base() const override { return bounds_.base; }
  [[nodiscard]] std::uintptr_t floor() const override { return bounds_.floor; }
  [[nodiscard]] std::size_t guard() const override { return guard_; }

  void run(const std::function<void()>& body) override {
    run_on_thread(attributes_, [&] {
      bounds_ = bounds_of_this_thread();
      body();
    });
  }

 private:
  std::size_t guard_;
  ThreadAttributes attributes_;
  ThreadBounds bounds_;
};

/// A thread on memory that its owner mapped. It has no guard, because pthread_attr_setstack(3)
/// makes none.
class GlibcThreadOnOurMemory final : public AnyStack {
 public:
  explicit GlibcThreadOnOurMemory(const StackRequest& request)
      : bytes_(handler::page_up(request.reserve)) {
    memory_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK,
                   -1, 0);
    bench::require(memory_ != MAP_FAILED, "mmap");
    if (const int error = pthread_attr_setstack(attributes_.get(), memory_, bytes_); error != 0) {
      munmap(memory_, bytes_);
      bench::throw_error("pthread_attr_setstack", error);
    }
  }
  ~GlibcThreadOnOurMemory() override { munmap(memory_, bytes_); }
  GlibcThreadOnOurMemory(const GlibcThreadOnOurMemory&) = delete;
  GlibcThreadOnOurMemory& operator=(const GlibcThreadOnOurMemory&) = delete;

  [[nodiscard]] std::uintptr_t base() const override { return floor() + bytes_; }
  [[nodiscard]] std::uintptr_t floor() const override { return address_of(memory_); }

  void run(const std::function<void()>& body) override { run_on_thread(attributes_, body); }

 private:
  ThreadAttributes attributes_;
  std::size_t bytes_;
  void* memory_ = nullptr;
};

/// A stack of one of Boost's allocators.
template <class Allocator>
class BoostStack final : public AnyStack {
 public:
  BoostStack(Allocator allocator, std::size_t guard)
      : allocator_(std::move(allocator)), guard_(guard), whole_(allocator_.allocate()) {}
  ~BoostStack() override { allocator_.deallocate(whole_); }
  BoostStack(const BoostStack&) = delete;
  BoostStack& operator=(const BoostStack&) = delete;

  [[nodiscard]] std::uintptr_t base() const override { return address_of(whole_.sp); }
  [[nodiscard]] std::uintptr_t floor() const override { return base() - whole_.size + guard_; }
  [[nodiscard]] std::size_t guard() const override { return guard_; }

  void run(const std::function<void()>& body) override {
    std::exception_ptr thrown;
    Suspended(whole_.sp, whole_.size).run([&] {
      try {
        body();
      } catch (...) {
        thrown = std::current_exception();
      }
    });
    if (thrown) {
      std::rethrow_exception(thrown);
    }
  }

 private:
  Allocator allocator_;
  std::size_t guard_;
  boost::context::stack_context whole_;
};

}  // namespace

std::unique_ptr<AnyStack> make_stack(const std::string& subject, const StackRequest& request) {
  namespace context = boost::context;
  if (subject == glibc_thread_name) {
    return std::make_unique<GlibcThread>(request);
  }
  if (subject == glibc_setstack_name) {
    return std::make_unique<GlibcThreadOnOurMemory>(request);
  }
  if (subject == boost_fixedsize_name) {
    return std::make_unique<BoostStack<context::fixedsize_stack>>(
        context::fixedsize_stack(request.reserve), 0);
  }
  if (subject == boost_protected_name) {
    return std::make_unique<BoostStack<context::protected_fixedsize_stack>>(
        context::protected_fixedsize_stack(request.reserve), handler::page_size());
  }
  if (subject == boost_pooled_name) {
    // A pool of its own, which gets one stack from malloc. In a pool that all share every stack but
    // the first would be a used one, which has its memory already.
    constexpr std::size_t stacks_at_once = 1;
    return std::make_unique<BoostStack<context::pooled_fixedsize_stack>>(
        context::pooled_fixedsize_stack(request.reserve, stacks_at_once), 0);
  }
  return std::make_unique<StrategyStack>(strategy_named(subject), request);
}

}  // namespace growstack::compare
