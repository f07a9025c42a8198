#include "scale/crowd.hpp"

#include "parts/descent.hpp"
#include "parts/errors.hpp"
#include "subjects/pools.hpp"
#include "subjects/threads.hpp"

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include <boost/context/fixedsize_stack.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>

#include <memory>
#include <optional>
#include <semaphore>
#include <vector>

namespace growstack::compare {
namespace {

using bench::address_of;

// What keeps track of the stacks is resident before the first stack is made, so that it is not
// counted as memory of the stacks.

/// Makes stacks of a pool.
std::function<Member()> of_pool(const PoolOptions& options, std::size_t most) {
  struct Stacks {
    StackPool pool;
    std::vector<std::optional<Stack>> all;
    std::size_t count = 0;
  };
  const std::shared_ptr<Stacks> stacks(
      new Stacks{.pool = StackPool(options), .all = std::vector<std::optional<Stack>>(most)});
  return [stacks]() -> Member {
    Stack& stack = stacks->all.at(stacks->count++).emplace(stacks->pool.acquire());
    return {address_of(stack.floor()), Suspended(stack.base(), stack.reserved())};
  };
}

/// Makes stacks of one of Boost's allocators. Never gives one back, because the process ends
/// anyway.
template <class Allocator>
std::function<Member()> of_boost(std::size_t reserve, std::size_t guard) {
  return [allocator = Allocator(reserve), guard]() mutable -> Member {
    const boost::context::stack_context stack = allocator.allocate();
    return {address_of(stack.sp) - stack.size + guard, Suspended(stack.sp, stack.size)};
  };
}

/// Threads that wait for their end.
class Threads {
 public:
  Threads(std::size_t most, std::size_t reserve, std::size_t guard)
      : attributes_(reserve, guard), threads_(most) {}
  ~Threads() {
    end_.release(static_cast<std::ptrdiff_t>(count_));
    for (std::size_t index = 0; index < count_; ++index) {
      pthread_join(threads_[index], nullptr);
    }
  }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  /// Returns the floor of a new thread's stack.
  std::uintptr_t add() {
    bench::require_no_error(
        pthread_create(&threads_.at(count_), attributes_.get(), wait_for_end, this),
        "pthread_create");
    ++count_;
    entered_.acquire();
    return floor_;
  }

 private:
  static void* wait_for_end(void* threads) {
    auto& all = *static_cast<Threads*>(threads);
    use_a_little();
    all.floor_ = bounds_of_this_thread().floor;
    all.entered_.release();
    all.end_.acquire();
    return nullptr;
  }

  ThreadAttributes attributes_;
  std::vector<pthread_t> threads_;
  std::size_t count_ = 0;
  std::uintptr_t floor_ = 0;  // the new thread writes it while add() waits
  std::binary_semaphore entered_{0};
  std::counting_semaphore<> end_{0};
};

}  // namespace

std::function<Member()> member_maker(const std::string& subject, std::size_t most,
                                     std::size_t reserve, std::size_t guard) {
  namespace context = boost::context;
  if (subject == boost_fixedsize_name) {
    return of_boost<context::fixedsize_stack>(reserve, 0);
  }
  if (subject == boost_pooled_name) {
    return of_boost<context::pooled_fixedsize_stack>(reserve, 0);
  }
  if (subject == boost_protected_name) {
    return of_boost<context::protected_fixedsize_stack>(reserve, handler::page_size());
  }
  if (subject == glibc_thread_name) {
    return [threads = std::make_shared<Threads>(most, reserve, guard)]() -> Member {
      return {threads->add()};
    };
  }
  return of_pool(
      {.reserve = reserve, .guard = guard, .strategy = strategy_named(subject), .name = "crowd"},
      most);
}

bool promises_guards(const std::string& subject) {
  return subject != boost_fixedsize_name && subject != boost_pooled_name;
}

}  // namespace growstack::compare
