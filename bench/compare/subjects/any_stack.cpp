#include "subjects/any_stack.hpp"

#include "subjects/borrowed_stack.hpp"
#include "subjects/subject.hpp"

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include <boost/context/fiber.hpp>
#include <boost/context/fixedsize_stack.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>

#include <pthread.h>
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <exception>
#include <stdexcept>
#include <utility>

namespace growstack::compare {
namespace {

std::uintptr_t number(const void* address) { return reinterpret_cast<std::uintptr_t>(address); }

void require(int error, const char* call) {
  if (error != 0) {
    throw std::system_error(error, std::generic_category(), call);
  }
}

// ---- the library's own --------------------------------------------------------------------------

class StrategyStack final : public AnyStack {
 public:
  StrategyStack(Strategy strategy, const StackRequest& request)
      : stack_(options(strategy, request)) {}

  [[nodiscard]] std::uintptr_t base() const override { return number(stack_.base()); }
  [[nodiscard]] std::uintptr_t floor() const override { return number(stack_.floor()); }
  [[nodiscard]] std::uintptr_t limit() const override { return number(stack_.limit()); }
  [[nodiscard]] std::uint64_t growth_events() const override {
    return stack_.counters().growth_faults;
  }
  [[nodiscard]] std::size_t high_water() const override { return stack_.high_water_mark(); }
  [[nodiscard]] std::size_t guard() const override {
    const std::optional<StackBounds> bounds = stack_bounds(stack_.floor());
    return bounds ? number(bounds->floor) - number(bounds->guard) : 0;
  }

  void run(const std::function<void()>& body) override { call(stack_, body); }
  std::error_code trim() override { return stack_.trim(); }

 private:
  static StackOptions options(Strategy strategy, const StackRequest& request) {
    StackOptions options{.reserve = request.reserve,
                         .guard = request.guard,
                         .policy = request.policy,
                         .strategy = strategy,
                         .name = "compared"};
    if (request.initial_commit) {
      options.policy.initial_commit = *request.initial_commit;
    }
    return options;
  }

  Stack stack_;
};

// ---- threads ------------------------------------------------------------------------------------

class ThreadAttributes {
 public:
  ThreadAttributes() { require(pthread_attr_init(&attributes_), "pthread_attr_init"); }
  ~ThreadAttributes() { pthread_attr_destroy(&attributes_); }
  ThreadAttributes(const ThreadAttributes&) = delete;
  ThreadAttributes& operator=(const ThreadAttributes&) = delete;

  [[nodiscard]] pthread_attr_t* get() noexcept { return &attributes_; }

 private:
  pthread_attr_t attributes_;
};

/// Runs body on a thread of its own to the end; what it throws arrives here.
void run_on_thread(ThreadAttributes& attributes, const std::function<void()>& body) {
  struct Errand {
    const std::function<void()>& body;
    std::exception_ptr thrown;
  } errand{body, nullptr};
  pthread_t thread{};
  require(pthread_create(
              &thread, attributes.get(),
              [](void* argument) -> void* {
                auto& it = *static_cast<Errand*>(argument);
                try {
                  it.body();
                } catch (...) {
                  it.thrown = std::current_exception();
                }
                return nullptr;
              },
              &errand),
          "pthread_create");
  require(pthread_join(thread, nullptr), "pthread_join");
  if (errand.thrown) {
    std::rethrow_exception(errand.thrown);
  }
}

/// The stack that glibc makes for a thread, and takes away with it.
class GlibcThread final : public AnyStack {
 public:
  explicit GlibcThread(const StackRequest& request) : guard_(handler::page_up(request.guard)) {
    // The guard comes on top of the size, as pthread_getattr_np tells it, too.
    require(pthread_attr_setguardsize(attributes_.get(), guard_), "pthread_attr_setguardsize");
    require(pthread_attr_setstacksize(attributes_.get(), handler::page_up(request.reserve)),
            "pthread_attr_setstacksize");
  }

  [[nodiscard]] std::uintptr_t base() const override { return base_; }
  [[nodiscard]] std::uintptr_t floor() const override { return floor_; }
  [[nodiscard]] std::size_t guard() const override { return guard_; }

  void run(const std::function<void()>& body) override {
    run_on_thread(attributes_, [&] {
      find_itself();
      body();
    });
  }

 private:
  void find_itself() {
    pthread_attr_t found;
    require(pthread_getattr_np(pthread_self(), &found), "pthread_getattr_np");
    void* lowest = nullptr;
    std::size_t bytes = 0;
    const int error = pthread_attr_getstack(&found, &lowest, &bytes);
    pthread_attr_destroy(&found);
    require(error, "pthread_attr_getstack");
    floor_ = number(lowest);
    base_ = floor_ + bytes;
  }

  ThreadAttributes attributes_;
  std::size_t guard_;
  std::uintptr_t base_ = 0;
  std::uintptr_t floor_ = 0;
};

/// A thread on memory that its owner mapped: no guard, for pthread_attr_setstack(3) makes none.
class GlibcThreadOnOurMemory final : public AnyStack {
 public:
  explicit GlibcThreadOnOurMemory(const StackRequest& request)
      : bytes_(handler::page_up(request.reserve)) {
    memory_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK,
                   -1, 0);
    require(memory_ == MAP_FAILED ? errno : 0, "mmap");
    if (const int error = pthread_attr_setstack(attributes_.get(), memory_, bytes_); error != 0) {
      munmap(memory_, bytes_);
      require(error, "pthread_attr_setstack");
    }
  }
  ~GlibcThreadOnOurMemory() override { munmap(memory_, bytes_); }
  GlibcThreadOnOurMemory(const GlibcThreadOnOurMemory&) = delete;
  GlibcThreadOnOurMemory& operator=(const GlibcThreadOnOurMemory&) = delete;

  [[nodiscard]] std::uintptr_t base() const override { return floor() + bytes_; }
  [[nodiscard]] std::uintptr_t floor() const override { return number(memory_); }

  void run(const std::function<void()>& body) override { run_on_thread(attributes_, body); }

 private:
  ThreadAttributes attributes_;
  std::size_t bytes_;
  void* memory_ = nullptr;
};

// ---- Boost.Context ------------------------------------------------------------------------------

/// Of one of the library's allocators, whose guard, if any, is one page.
template <class Allocator>
class BoostStack final : public AnyStack {
 public:
  BoostStack(Allocator allocator, std::size_t guard)
      : allocator_(std::move(allocator)), guard_(guard), whole_(allocator_.allocate()) {}
  ~BoostStack() override { allocator_.deallocate(whole_); }
  BoostStack(const BoostStack&) = delete;
  BoostStack& operator=(const BoostStack&) = delete;

  [[nodiscard]] std::uintptr_t base() const override { return number(whole_.sp); }
  [[nodiscard]] std::uintptr_t floor() const override { return base() - whole_.size + guard_; }
  [[nodiscard]] std::size_t guard() const override { return guard_; }

  void run(const std::function<void()>& body) override {
    namespace context = boost::context;
    std::exception_ptr thrown;
    context::fiber there(std::allocator_arg, context::preallocated(whole_.sp, whole_.size, whole_),
                         BorrowedStack{}, [&](context::fiber&& back) {
                           try {
                             body();
                           } catch (...) {
                             thrown = std::current_exception();
                           }
                           return std::move(back);
                         });
    there = std::move(there).resume();
    if (thrown) {
      std::rethrow_exception(thrown);
    }
  }

 private:
  Allocator allocator_;
  std::size_t guard_;
  boost::context::stack_context whole_;
};

std::unique_ptr<AnyStack> make_fixedsize(const StackRequest& request) {
  return std::make_unique<BoostStack<boost::context::fixedsize_stack>>(
      boost::context::fixedsize_stack(request.reserve), 0);
}

std::unique_ptr<AnyStack> make_protected_fixedsize(const StackRequest& request) {
  return std::make_unique<BoostStack<boost::context::protected_fixedsize_stack>>(
      boost::context::protected_fixedsize_stack(request.reserve), handler::page_size());
}

/// A pool of its own, that asks malloc for one stack: with one shared by all, every stack but the
/// first would be a used one, and its memory there already.
std::unique_ptr<AnyStack> make_pooled_fixedsize(const StackRequest& request) {
  constexpr std::size_t stacks_at_once = 1;
  return std::make_unique<BoostStack<boost::context::pooled_fixedsize_stack>>(
      boost::context::pooled_fixedsize_stack(request.reserve, stacks_at_once), 0);
}

template <class Peer>
std::unique_ptr<AnyStack> make(const StackRequest& request) {
  return std::make_unique<Peer>(request);
}

struct Maker {
  std::string_view name;
  std::unique_ptr<AnyStack> (*make)(const StackRequest& request);
};

constexpr std::array makers{Maker{"glibc_thread", make<GlibcThread>},
                            Maker{"glibc_thread_setstack", make<GlibcThreadOnOurMemory>},
                            Maker{"boost_fixedsize", make_fixedsize},
                            Maker{"boost_protected_fixedsize", make_protected_fixedsize},
                            Maker{"boost_pooled_fixedsize", make_pooled_fixedsize}};

}  // namespace

std::unique_ptr<AnyStack> make_stack(const std::string& subject, const StackRequest& request) {
  for (const Maker& maker : makers) {
    if (maker.name == subject) {
      return maker.make(request);
    }
  }
  return std::make_unique<StrategyStack>(strategy_named(subject), request);
}

}  // namespace growstack::compare
