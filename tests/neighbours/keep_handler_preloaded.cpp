// keep_handler in LD_PRELOAD, for programs that were not linked with it: one that contains
// growstack, and one without growstack that loads a plugin which contains it.
#include <doctest/doctest.h>

#include "support/scenario.hpp"

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

TEST_CASE("nothing changes in a program in which nobody installs our handler") {
  CHECK(run(true, {GROWSTACK_HOST}).exit_code == 7);
}
