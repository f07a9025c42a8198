#include "pool/kept_register.hpp"

#include <growstack/handler/init_order.hpp>

#include <pthread.h>

#include <algorithm>

namespace growstack {

[[gnu::tls_model("initial-exec")]] constinit thread_local KeptHere* kept_here = nullptr;

KeptPool* KeptPools::find(const StackOptions& options) noexcept {
  const auto found = std::find_if(places.begin(), places.end(), [&](const KeptPool& pool) {
    return pool && !pool.is_inherited && pool.options.are_those_of(options);
  });
  return found == places.end() ? nullptr : &*found;
}

KeptPool* KeptPools::free_place() noexcept {
  const auto kept = std::count_if(places.begin(), places.end(),
                                  [](const KeptPool& pool) { return pool && !pool.is_inherited; });
  const auto free =
      std::find_if(places.begin(), places.end(), [](const KeptPool& pool) { return !pool; });
  return static_cast<std::size_t>(kept) < most_kept_pools && free != places.end() ? &*free
                                                                                  : nullptr;
}

bool KeptPools::look_at(KeptPool& pool) const noexcept {
  const PoolStatistics figures = pool.core->statistics();
  const std::uint64_t before = std::exchange(pool.acquired, figures.hits + figures.misses);
  if (before != pool.acquired) {
    pool.last_used = looks;
  }
  return before != pool.acquired;
}

void KeptPools::let_threads_forget(const PoolCore& core) noexcept {
  for (KeptHere* here = threads; here != nullptr; here = here->next) {
    if (here->remembers(core)) {
      here->lock.seize();
      here->forget(core);
      here->lock.release();
    }
  }
}

OwnedCore KeptPools::take_out_if_idle(KeptPool& pool) noexcept {
  if (pool.users == 0) {
    let_threads_forget(*pool.core);
    if (pool.core->is_idle()) {
      return std::exchange(pool, {}).core;
    }
  }
  return nullptr;
}

OwnedCore KeptPools::take_out_least_recently_used() noexcept {
  ++looks;
  std::array<KeptPool*, 2 * most_kept_pools> by_use{};
  auto end = by_use.begin();
  for (KeptPool& pool : places) {
    if (pool) {
      look_at(pool);
      *end++ = &pool;
    }
  }
  std::stable_sort(by_use.begin(), end, [](const KeptPool* one, const KeptPool* two) {
    return one->last_used < two->last_used;
  });
  OwnedCore taken;
  for (auto each = by_use.begin(); each != end && taken == nullptr; ++each) {
    taken = take_out_if_idle(**each);
  }
  return taken;
}

namespace {

/// Made when the program is loaded, because a child that is forked while another thread makes it
/// would find it half made forever. Never destroyed, because calls may be made until the process
/// has ended. Its locks are taken before those of pools, also at a fork.
class TheKeptPools {
 public:
  TheKeptPools() : kept_pools_(*new KeptPools) {
    static_cast<void>(pthread_atfork(before_fork, in_parent, in_child));
  }
  KeptPools& operator*() const noexcept { return kept_pools_; }

 private:
  static void before_fork() noexcept;
  static void in_parent() noexcept;
  static void in_child() noexcept;

  KeptPools& kept_pools_;
};

[[gnu::init_priority(handler::init_dependents)]] const TheKeptPools the_kept_pools;

void TheKeptPools::before_fork() noexcept {
  (*the_kept_pools).giving.lock();
  (*the_kept_pools).lock.lock();
}
void TheKeptPools::in_parent() noexcept {
  (*the_kept_pools).lock.unlock();
  (*the_kept_pools).giving.unlock();
}

/// Only the thread that called fork(2) exists, and it was not in here.
void TheKeptPools::in_child() noexcept {
  KeptPools& all = *the_kept_pools;
  for (KeptPool& pool : all.places) {
    pool.is_inherited = true;
    pool.users = 0;
  }
  for (KeptHere* next = std::exchange(all.threads, kept_here); next != nullptr;) {
    KeptHere* const here = std::exchange(next, next->next);
    if (here != kept_here) {
      delete here;
    }
  }
  if (kept_here != nullptr) {
    kept_here->forget_all();
    kept_here->next = nullptr;
  }
  all.lock.unlock();
  all.giving.unlock();
}

}  // namespace

KeptPools& kept_pools() noexcept { return *the_kept_pools; }

void end_kept_here() noexcept {
  KeptHere* const ended = std::exchange(kept_here, nullptr);
  if (ended == nullptr) {
    return;
  }
  {
    KeptPools& all = kept_pools();
    const std::lock_guard guard(all.lock);
    KeptHere** link = &all.threads;
    while (*link != ended) {
      link = &(*link)->next;
    }
    *link = ended->next;
  }
  delete ended;
}

}  // namespace growstack
