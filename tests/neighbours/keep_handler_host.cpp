// A program without growstack that loads the plugin which its argument names, if there is one.
#include <dlfcn.h>

#include <csignal>
#include <cstdio>

int main(int argc, char** argv) {
  if (argc < 2) {
    // Nobody has installed our handler, so the component changes nothing.
    sigset_t mask{};
    sigaddset(&mask, SIGSEGV);
    sigprocmask(SIG_BLOCK, &mask, nullptr);
    sigset_t seen{};
    sigprocmask(SIG_BLOCK, nullptr, &seen);
    return sigismember(&seen, SIGSEGV) == 1 ? 7 : 1;
  }
  void* const plugin = dlopen(argv[1], RTLD_NOW);
  if (plugin == nullptr) {
    std::puts(dlerror());
    return 1;
  }
  return reinterpret_cast<int (*)()>(dlsym(plugin, "grow_in_spite_of_everything"))();
}
