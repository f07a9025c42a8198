// keep_handler in LD_PRELOAD, for programs that were not linked with it: one that contains
// growstack, and one without growstack that loads a plugin which contains it.
#include <doctest/doctest.h>

#include "support/scenario.hpp"

#include <dlfcn.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

using namespace growstack::testing;

extern "C" int grow_in_spite_of_everything();

namespace {

/// Runs a program of this folder, or this one, with or without the component.
Ended run(bool preloaded, std::vector<std::string> words) {
  const std::string component = preloaded ? GROWSTACK_KEEP_HANDLER : "";
  words.insert(words.begin(), {"env", "LD_PRELOAD=" + component});
  return run_program(words);
}

const std::string self = std::filesystem::read_symlink("/proc/self/exe");

}  // namespace

GROWSTACK_SCENARIO("grow in spite of everything") {
  no_core();
  return grow_in_spite_of_everything();
}

TEST_CASE("a program that contains growstack has its handler kept by LD_PRELOAD") {
  const Ended kept = run(true, {self, "--scenario=grow in spite of everything"});
  CHECK(kept.out == "kept 1\n");
  CHECK(kept.exit_code == 7);
  const Ended alone = run(false, {self, "--scenario=grow in spite of everything"});
  CHECK(alone.out == "kept 0\n");
  CHECK(alone.signal == SIGSEGV);
}

TEST_CASE("a plugin that contains growstack has its handler kept by LD_PRELOAD in any host") {
  const Ended kept = run(true, {GROWSTACK_HOST, GROWSTACK_PLUGIN});
  CHECK(kept.out == "kept 1\n");
  CHECK(kept.exit_code == 7);
  CHECK(run(false, {GROWSTACK_HOST, GROWSTACK_PLUGIN}).signal == SIGSEGV);
}

TEST_CASE("a plugin has its handler kept by a host that is linked with keep_handler") {
  const Ended kept = run(false, {GROWSTACK_HOST_WITH_KEEP_HANDLER, GROWSTACK_PLUGIN});
  CHECK(kept.out == "kept 1\n");
  CHECK(kept.exit_code == 7);
}

TEST_CASE("LD_PRELOAD and linking may be combined") {
  const Ended kept = run(true, {GROWSTACK_HOST_WITH_KEEP_HANDLER, GROWSTACK_PLUGIN});
  CHECK(kept.out == "kept 1\n");
  CHECK(kept.exit_code == 7);
}

GROWSTACK_SCENARIO("two copies") {
  no_core();
  void* const plugin = dlopen(GROWSTACK_PLUGIN, RTLD_NOW | RTLD_LOCAL);
  const auto grow_in_plugin =
      reinterpret_cast<int (*)()>(dlsym(plugin, "grow_in_spite_of_everything"));
  for (int round = 0; round < 3; ++round) {
    if (grow_in_spite_of_everything() != 7 || grow_in_plugin() != 7) {
      return 1;
    }
  }
  return 7;
}

TEST_CASE("two copies of growstack grow under keep_handler") {
  CHECK(run(true, {self, "--scenario=two copies"}).exit_code == 7);
  CHECK(run(false, {self, "--scenario=two copies"}).signal == SIGSEGV);
}

TEST_CASE("nothing changes in a program in which nobody installs our handler") {
  CHECK(run(true, {GROWSTACK_HOST}).exit_code == 7);
}
