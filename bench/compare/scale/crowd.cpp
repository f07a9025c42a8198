#include "scale/crowd.hpp"

#include "scale/suspended.hpp"
#include "subjects/pool_subject.hpp"

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include <boost/context/fixedsize_stack.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>

#include <pthread.h>

#include <optional>
#include <semaphore>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

namespace growstack::compare {
namespace {

std::uintptr_t number(const void* address) { return reinterpret_cast<std::uintptr_t>(address); }

// ---- the library's own --------------------------------------------------------------------------

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
    return number(stacks_.at(index).value().floor());
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

// ---- Boost.Context ------------------------------------------------------------------------------

/// Never gives a stack back: the process ends anyway.
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
    floors_.at(count_) = number(stack.sp) - stack.size + guard_;
    suspended_[count_] = Suspended(stack.sp, stack.size);
    ++count_;
  }

  [[nodiscard]] std::uintptr_t floor(std::size_t index) const override { return floors_.at(index); }
  [[nodiscard]] bool is_guarded() const override { return guard_ != 0; }
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

// ---- threads ------------------------------------------------------------------------------------

void require(int error, const char* call) {
  if (error != 0) {
    throw std::system_error(error, std::generic_category(), call);
  }
}

class ThreadCrowd final : public Crowd {
 public:
  explicit ThreadCrowd(const CrowdRequest& request)
      : floors_(request.most), threads_(request.most) {
    require(pthread_attr_init(&attributes_), "pthread_attr_init");
    require(pthread_attr_setstacksize(&attributes_, request.reserve), "pthread_attr_setstacksize");
    require(pthread_attr_setguardsize(&attributes_, request.guard), "pthread_attr_setguardsize");
  }
  ~ThreadCrowd() override {
    end_.release(static_cast<std::ptrdiff_t>(count_));
    for (std::size_t index = 0; index < count_; ++index) {
      pthread_join(threads_[index], nullptr);
    }
    pthread_attr_destroy(&attributes_);
  }
  ThreadCrowd(const ThreadCrowd&) = delete;
  ThreadCrowd& operator=(const ThreadCrowd&) = delete;

  void add() override {
    require(pthread_create(&threads_.at(count_), &attributes_, wait_for_end, this),
            "pthread_create");
    entered_.acquire();
    ++count_;
  }

  [[nodiscard]] std::uintptr_t floor(std::size_t index) const override { return floors_.at(index); }

 private:
  /// The one that is being added writes; who adds waits.
  static void* wait_for_end(void* crowd) {
    auto& its = *static_cast<ThreadCrowd*>(crowd);
    use_a_little();
    its.floors_[its.count_] = floor_here();
    its.entered_.release();
    its.end_.acquire();
    return nullptr;
  }

  /// 0 if it cannot be known.
  static std::uintptr_t floor_here() {
    pthread_attr_t found;
    void* lowest = nullptr;
    std::size_t bytes = 0;
    if (pthread_getattr_np(pthread_self(), &found) == 0) {
      pthread_attr_getstack(&found, &lowest, &bytes);
      pthread_attr_destroy(&found);
    }
    return number(lowest);
  }

  pthread_attr_t attributes_{};
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

}  // namespace growstack::compare
