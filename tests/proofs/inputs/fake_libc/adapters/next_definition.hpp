// In place of lib/adapters/next_definition.hpp: the functions of libc that keep_handler calls are
// those of the model's kernel. That they are found by their names is what other tests try.
#pragma once

namespace growstack {

namespace inputs {

/// Returns the model's function of that name, or null.
void* fake_function(const char* name) noexcept;

}  // namespace inputs

template <class Function>
class Next {
 public:
  explicit constexpr Next(const char* name) noexcept : name_(name) {}
  Function* get() noexcept {
    if (known_ == nullptr) {
      known_ = reinterpret_cast<Function*>(inputs::fake_function(name_));
    }
    return known_;
  }

 private:
  const char* name_;
  Function* known_ = nullptr;
};

}  // namespace growstack
