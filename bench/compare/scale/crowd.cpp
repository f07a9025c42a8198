#include "scale/crowd.hpp"

#include "parts/descent.hpp"
#include "parts/errors.hpp"
#include "scale/suspended.hpp"
#include "subjects/pools.hpp"
#include "subjects/threads.hpp"

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include <boost/context/fixedsize_stack.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>

#include <optional>
#include <semaphore>
#include <stdexcept>
#include <vector>

namespace growstack::compare {
namespace {

using bench::address_of;

/// The library's own.
class PooledCrowd final : public Crowd {
 public:
  PooledCrowd(Strategy strategy, const CrowdRequest& request)
      : pool_({.reserve = request.reserve,
               .guard = request.guard,
               .strategy = strategy,
               .name = "crowd"}),
        stacks_(request.most),
        suspended_(request.most) {}

  void add() override {
    Stack& stack = stacks_.at(count_).emplace(pool_.acquire());
    suspended_[count_] = Suspended(stack.base(), stack.reserved());
    ++count_;
  }

  [[nodiscard]] std::uintptr_t floor(std::size_t index) const override {
    return address_of(stacks_.at(index).value().floor());
  }
  void run(std::size_t index, const std::function<void()>& errand) override {
    suspended_.at(index).run(errand);
  }

 private:
  StackPool pool_;
  std::vector<std::optional<Stack>> stacks_;
  std::vector<Suspended> suspended_;
  std::size_t count_ = 0;
};

/// Never gives a stack back, because the process ends anyway.
template <class Allocator>
class BoostCrowd final : public Crowd {
 public:
  BoostCrowd(const CrowdRequest& request, std::size_t guard)
      : allocator_(request.reserve),
        guard_(guard),
        floors_(request.most),
        suspended_(request.most) {}

  void add() override {
    const boost::context::stack_context stack = allocator_.allocate();
    floors_.at(count_) = address_of(stack.sp) - stack.size + guard_;
    suspended_[count_] = Suspended(stack.sp, stack.size);
    ++count_;
  }

  [[nodiscard]] std::uintptr_t floor(std::size_t index) const override { return floors_.at(index); }
  void run(std::size_t index, const std::function<void()>& errand) override {
    suspended_.at(index).run(errand);
  }

 private:
  Allocator allocator_;
  std::size_t guard_;
  std::vector<std::uintptr_t> floors_;
  std::vector<Suspended> suspended_;
  std::size_t count_ = 0;
};

class ThreadCrowd final : public Crowd {
 public:
  explicit ThreadCrowd(const CrowdRequest& request)
      : attributes_(request.reserve, request.guard),
        floors_(request.most),
        threads_(request.most) {}
  ~ThreadCrowd() override {
    end_.release(static_cast<std::ptrdiff_t>(count_));
    for (std::size_t index = 0; index < count_; ++index) {
      pthread_join(threads_[index], nullptr);
    }
  }
  ThreadCrowd(const ThreadCrowd&) = delete;
  ThreadCrowd& operator=(const ThreadCrowd&) = delete;

  void add() override {
    bench::require_no_error(
        pthread_create(&threads_.at(count_), attributes_.get(), wait_for_end, this),
        "pthread_create");
    entered_.acquire();
    ++count_;
  }

  [[nodiscard]] std::uintptr_t floor(std::size_t index) const override { return floors_.at(index); }

 private:
  /// Runs on the thread that is being added. It writes while add() waits.
  static void* wait_for_end(void* crowd) {
    auto& its = *static_cast<ThreadCrowd*>(crowd);
    use_a_little();
    its.floors_[its.count_] = bounds_of_this_thread().floor;
    its.entered_.release();
    its.end_.acquire();
    return nullptr;
  }

  ThreadAttributes attributes_;
  std::vector<std::uintptr_t> floors_;
  std::vector<pthread_t> threads_;
  std::binary_semaphore entered_{0};
  std::counting_semaphore<> end_{0};
  std::size_t count_ = 0;
};

}  // namespace

void Crowd::run(std::size_t, const std::function<void()>&) {
  throw std::logic_error("threads take no errands");
}

std::unique_ptr<Crowd> make_crowd(const std::string& subject, const CrowdRequest& request) {
  namespace context = boost::context;
  if (subject == boost_fixedsize_name) {
    return std::make_unique<BoostCrowd<context::fixedsize_stack>>(request, 0);
  }
  if (subject == boost_pooled_name) {
    return std::make_unique<BoostCrowd<context::pooled_fixedsize_stack>>(request, 0);
  }
  if (subject == boost_protected_name) {
    return std::make_unique<BoostCrowd<context::protected_fixedsize_stack>>(request,
                                                                            handler::page_size());
  }
  if (subject == glibc_thread_name) {
    return std::make_unique<ThreadCrowd>(request);
  }
  return std::make_unique<PooledCrowd>(strategy_named(subject), request);
}

bool promises_guards(const std::string& subject) {
  return subject != boost_fixedsize_name && subject != boost_pooled_name;
}

}  // namespace growstack::compare
