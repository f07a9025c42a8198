// The function of libc that one of ours replaces.
#pragma once

#include <dlfcn.h>

#include <atomic>

namespace growstack {

/// The next definition of a function: libc's, or one of another library that replaces it as well.
/// It is looked up at its first call, because other libraries may call it before any constructor of
/// ours has run. Several threads may look it up at once, which does no harm. (The guard of a static
/// variable could stay taken forever in a child that is forked meanwhile.)
template <class Function>
class Next {
 public:
  explicit constexpr Next(const char* name) noexcept : name_(name) {}
  Function* get() noexcept {
    Function* known = known_.load(std::memory_order_relaxed);
    if (known == nullptr) {
      known = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name_));
      known_.store(known, std::memory_order_relaxed);
    }
    return known;
  }

 private:
  const char* name_;
  std::atomic<Function*> known_{nullptr};
};

}  // namespace growstack
