#include "anywhere/keep_handler.hpp"

#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/init_order.hpp>

#include <dlfcn.h>

#include <cerrno>

// The component may be part of the same program or library; then the linker finds it. Weak, because
// it may be missing.
#pragma weak growstack_keep_handler_2

namespace growstack::handler {
namespace {

/// Written when the program or plugin that contains this copy is loaded. Not in install(): dlsym(3)
/// takes the loader's lock, which a thread may hold that waits for ours.
constinit const KeepHandler* component = nullptr;

const void* module_of(const void* address) noexcept {
  Dl_info found{};
  return dladdr(address, &found) != 0 ? found.dli_fbase : nullptr;
}

/// Returns whether the component's functions take the place of libc's. They do not in a plugin that
/// was linked with it: libc came first. In a program that is linked with -static nobody can tell.
bool replaces_libc(const void* table) noexcept {
  const void* const used = dlsym(RTLD_DEFAULT, "sigaction");
  return used == nullptr || module_of(used) == module_of(table);
}

struct FindComponent {
  FindComponent() noexcept
      : FindComponent(&growstack_keep_handler_2 != nullptr
                          ? &growstack_keep_handler_2
                          : dlsym(RTLD_DEFAULT, "growstack_keep_handler_2")) {}
  explicit FindComponent(const void* found) noexcept {
    if (found != nullptr && replaces_libc(found)) {
      component = static_cast<const KeepHandler*>(found);
    }
  }
};
[[gnu::init_priority(init_foundations)]] const FindComponent find_component;

}  // namespace

const KeepHandler* keep_component() noexcept { return component; }

int change_action(int signal, const struct sigaction* action, struct sigaction* old) noexcept {
  auto* const change = component == nullptr ? &::sigaction : component->sigaction;
  return change(signal, action, old) == 0 ? 0 : failed(SystemCall::sigaction);
}

int change_mask(int how, const sigset_t* mask, sigset_t* old) noexcept {
  return (component == nullptr ? &::pthread_sigmask : component->sigmask)(how, mask, old);
}

int change_alternate_stack(const stack_t* stack, stack_t* old) noexcept {
  auto* const change = component == nullptr ? &::sigaltstack : component->sigaltstack;
  return change(stack, old) == 0 ? 0 : failed(SystemCall::sigaltstack);
}

}  // namespace growstack::handler
