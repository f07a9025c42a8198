// Two copies of growstack in one process. Each grows its own stacks, in the same threads and one
// inside of the other, reports its own overflows, and forwards what is not its own. Then the plugin
// is closed.
#include "../copy.hpp"

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

static constexpr char name[] = "of the host";

namespace {

constexpr int depth = 100'000;

#define EXPECT(condition)                                                          \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                                \
    }                                                                              \
  } while (false)

/// Grows stacks of `one`, and expects that they are counted there and not in `other`.
void grows_alone(const Copy& one, const Copy& other) {
  const auto before = one.growths();
  const auto before_of_other = other.growths();
  EXPECT(one.deep(depth) == depth);
  EXPECT(one.pooled(depth) == depth);
  EXPECT(one.growths() > before);
  EXPECT(other.growths() == before_of_other);
}

void grow_alternately(const Copy& one, const Copy& other) {
  for (int i = 0; i < 20; ++i) {
    EXPECT(one.deep(depth) == depth);
    EXPECT(other.pooled(depth) == depth);
    EXPECT(one.inside(depth, other.deep) == depth);
    EXPECT(other.inside(depth, one.pooled) == depth);
    EXPECT(one.ensured(depth) == depth);
    EXPECT(other.inside(depth, one.ensured) == depth);
    EXPECT(one.inside(depth, one.ensured) == depth);
  }
}

void grow_alternately_in_threads(const Copy& one, const Copy& other) {
  std::thread first([&] { grow_alternately(one, other); });
  std::thread second([&] { grow_alternately(other, one); });
  first.join();
  second.join();
}

/// Returns what a child prints that dies of an overflow.
std::string last_words(const Copy& copy) {
  int ends[2];
  EXPECT(pipe(ends) == 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    copy.overflow();
    _exit(0);
  }
  close(ends[1]);
  std::string words;
  char buffer[4096];
  for (ssize_t count; (count = read(ends[0], buffer, sizeof buffer)) > 0;) {
    words.append(buffer, static_cast<std::size_t>(count));
  }
  close(ends[0]);
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child);
  EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
  return words;
}

void names_its_overflow(const Copy& copy, const char* whose) {
  const std::string words = last_words(copy);
  const std::string wanted = "growstack: stack overflow: ";
  const auto at = words.find(wanted);
  EXPECT(at != std::string::npos);
  EXPECT(words.find(wanted, at + 1) == std::string::npos);  // only once
  EXPECT(words.find(std::string("stack \"") + whose + '"') != std::string::npos);
}

/// Grows stacks of both copies while somebody else puts a handler over theirs, again and again.
void grow_under_another_handler(const Copy& one, const Copy& other) {
  struct sigaction theirs {};
  theirs.sa_handler = [](int) { _exit(22); };
  theirs.sa_flags = SA_ONSTACK;
  for (int round = 0; round < 20; ++round) {
    struct sigaction before {};
    EXPECT(sigaction(SIGSEGV, &theirs, &before) == 0);
    EXPECT(one.deep(depth) == depth);
    EXPECT(other.inside(depth, one.pooled) == depth);
    EXPECT(sigaction(SIGSEGV, &before, nullptr) == 0);
    EXPECT(other.deep(depth) == depth);
  }
}

/// Uninstalls `upper` first, because it was installed over `lower`.
void uninstall_in_order(const Copy& lower, const Copy& upper) {
  EXPECT(upper.installed() && !lower.installed());
  EXPECT(lower.uninstall() == EPERM);
  EXPECT(lower.deep(depth) == depth);  // goes on working below the other
  EXPECT(upper.uninstall() == 0);
  EXPECT(lower.installed());
  EXPECT(lower.deep(depth) == depth);
  EXPECT(lower.uninstall() == 0);
  struct sigaction now {};
  EXPECT(sigaction(SIGSEGV, nullptr, &now) == 0 && now.sa_handler == SIG_DFL);
}

void all_of_it(const Copy& lower, const Copy& upper) {
  EXPECT(lower.deep(depth) == depth);  // installs
  EXPECT(upper.deep(depth) == depth);
  grows_alone(lower, upper);
  grows_alone(upper, lower);
  grow_alternately_in_threads(lower, upper);
  grow_under_another_handler(lower, upper);
  grow_under_another_handler(upper, lower);
  names_its_overflow(copy<name>, name);
  names_its_overflow(&lower == &copy<name> ? upper : lower, "of the plugin");
  uninstall_in_order(lower, upper);
}

}  // namespace

int main(int, char** arguments) {
  void* const plugin = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  if (plugin == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  const auto plugin_copy = reinterpret_cast<Copy (*)()>(dlsym(plugin, "plugin_copy"))();
  all_of_it(copy<name>, plugin_copy);
  all_of_it(plugin_copy, copy<name>);

  // The plugin is closed while its handler is installed, and while a thread of ours still has an
  // alternate stack of the plugin's.
  EXPECT(copy<name>.deep(depth) == depth);
  std::thread([&] {
    EXPECT(plugin_copy.attach() == 0);
    EXPECT(plugin_copy.pooled(depth) == depth);
    EXPECT(plugin_copy.installed());
    EXPECT(dlclose(plugin) == 0);
    EXPECT(copy<name>.deep(depth) == depth);
  }).join();
  EXPECT(copy<name>.deep(depth) == depth);
  names_its_overflow(copy<name>, name);
  std::puts("Two copies, each for itself");
}
