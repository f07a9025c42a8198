// In a debugger: growth passes, crashes stop, and the stacks can be listed, in a live process and
// in a core.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/stack_pool.hpp>

#include "support/core_dump.hpp"
#include "support/each_strategy.hpp"
#include "support/recursion.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <semaphore>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

const std::vector<std::string> source_the_script{std::string("source ") + GROWSTACK_GDB_SCRIPT};

/// Returns what gdb and the program say, and gdb's errors.
std::string say(const Ended& ended) { return ended.out + ended.err; }

std::vector<std::string> gdb_words(const std::vector<std::string>& commands) {
  std::vector<std::string> words{
      "gdb", "-nx", "-q", "-batch", "-iex", "set debuginfod enabled off", "-ex", "set width 0"};
  for (const std::string& command : commands) {
    words.insert(words.end(), {"-ex", command});
  }
  return words;
}

/// Runs gdb on this program with our script and these commands. The command "run" runs the
/// scenario.
std::string debug(const std::string& scenario, std::vector<std::string> commands,
                  const std::string& program = std::filesystem::read_symlink("/proc/self/exe")) {
  commands.insert(commands.begin(), source_the_script.begin(), source_the_script.end());
  std::vector<std::string> words = gdb_words(commands);
  words.insert(words.end(), {"--args", program, "--scenario=" + scenario});
  return say(run_program(words, std::chrono::seconds(100)));
}

std::string debug_of(const std::string& what, const Traits& traits,
                     const std::vector<std::string>& commands) {
  return debug(what + " " + std::string(traits.name), commands);
}

/// Returns why gdb cannot be used here. Empty if it can.
std::string no_gdb_because() {
  std::vector<std::string> words = gdb_words({"python print(6 * 7)", "run"});
  words.insert(words.end(), {"--args", std::filesystem::read_symlink("/proc/self/exe"),
                             "--scenario=does nothing"});
  const Ended tried = run_program(words);
  if (tried.exit_code == 127) {
    return "there is no gdb";
  }
  if (!contains(tried.out, "42")) {
    return "gdb was built without Python";
  }
  return contains(tried.out, "exited normally") ? ""
                                                : "gdb cannot run a program here: " + tried.err;
}

bool gdb_is_missing() {
  const std::string reason = no_gdb_because();
  if (!reason.empty()) {
    skip(reason);
  }
  return !reason.empty();
}

}  // namespace

GROWSTACK_SCENARIO("does nothing") { return 0; }

// ---- what stops ---------------------------------------------------------------------------------

namespace {

int grow_of(const Traits& of) {
  Stack stack({.reserve = 64 * MiB, .strategy = of.strategy, .name = "grows"});
  const auto frames = call(stack, [] { return recurse(100'000); });
  // Another stack grows by a touch from this one.
  Stack other({.reserve = 64 * MiB, .strategy = of.strategy, .name = "grows"});
  *(static_cast<volatile char*>(other.limit()) - 1) = 1;
  return frames == 100'000 && stack.counters().growth_faults > 0 &&
                 other.counters().growth_faults > 0
             ? 7
             : 1;
}
const ScenarioOfEach<grow_of> grows("grow");

volatile int endless = 1;

[[gnu::noinline]] int runaway(int depth) {
  volatile char room[100];
  keep(room);
  room[0] = static_cast<char>(depth);
  return endless == 0 ? depth : runaway(depth + 1) + room[0];
}

int overflow_of(const Traits& of) {
  no_core();
  call({.reserve = MiB, .strategy = of.strategy, .name = "doomed"}, runaway, 0);
  return 0;
}
const ScenarioOfEach<overflow_of> overflows("overflow");

}  // namespace

STRATEGIES_WHERE(traits.growth_events,
                 "growth neither stops the program in gdb nor prints anything") {
  if (gdb_is_missing()) {
    return;
  }
  const std::string said = debug_of("grow", Of::traits, {"run"});
  CAPTURE(said);
  CHECK(contains(said, "exited with code 07"));
  CHECK_FALSE(contains(said, "signal"));
  CHECK_FALSE(contains(said, "Catchpoint"));
  CHECK_FALSE(contains(said, "growstack:"));
}

STRATEGIES_WHERE(
    traits.growth_events,
    "an overflow stops in gdb at the function that ran away, and one line names the stack") {
  if (gdb_is_missing()) {
    return;
  }
  const std::string said = debug_of("overflow", Of::traits, {"run", "frame function"});
  CAPTURE(said);
  CHECK(matches(said, "growstack: stack overflow: stack \"doomed\" \\(" +
                          std::string(Of::traits.name) +
                          "\\), reserved [0-9]+ bytes, committed [0-9]+, "
                          "fault address 0x[0-9a-f]+, stack pointer 0x"));
  CHECK(matches(said, "hit Catchpoint 1 \\(signal SIG(SEGV|BUS)\\), .*runaway"));
}

GROWSTACK_SCENARIO("null pointer") {
  no_core();
  return call({.name = "innocent"}, [] {
    recurse(10'000);
    volatile int* volatile nowhere = nullptr;
    return *nowhere;
  });
}

TEST_CASE(
    "a null pointer stops in gdb, and again when our handler has left it to the default action") {
  if (gdb_is_missing()) {
    return;
  }
  // What comes then is not looked at, because gdb 13 may fail to read a register at the death of a
  // process with threads.
  const std::string said = debug("null pointer", {"run", "echo SECOND\\n", "continue"});
  CAPTURE(said);
  const std::size_t second = said.find("SECOND\n");
  REQUIRE(second != std::string::npos);
  CHECK(contains(said.substr(0, second), "hit Catchpoint 1 (signal SIGSEGV)"));
  CHECK(contains(said.substr(second), "hit Catchpoint 1 (signal SIGSEGV)"));
  CHECK_FALSE(contains(said, "overflow"));
}

GROWSTACK_SCENARIO("wild pointer into a stack") {
  no_core();
  Stack other({.reserve = 256 * MiB, .name = "bystander"});
  static_cast<volatile char*>(other.floor())[MiB] = 1;
  return 0;
}

TEST_CASE("a wild pointer into the reserve of a stack stops in gdb, because that is no growth") {
  if (gdb_is_missing()) {
    return;
  }
  const std::string said = debug("wild pointer into a stack", {"run"});
  CAPTURE(said);
  CHECK(contains(said, "hit Catchpoint 1 (signal SIGSEGV)"));
}

GROWSTACK_SCENARIO("growth that fails") {
  no_core();
  Stack stack({.reserve = 16 * MiB, .strategy = Strategy::in_handler, .name = "starving"});
  set_process_budget(256 * KiB);
  call(stack, runaway, 0);
  return 0;
}

TEST_CASE("a growth that fails stops in gdb when the handler has given up") {
  if (gdb_is_missing()) {
    return;
  }
  const std::string said = debug("growth that fails", {"run"});
  CAPTURE(said);
  CHECK(contains(
      said, "growstack: stack \"starving\" could not grow, and nobody handles the fault any more"));
  CHECK(contains(said, "hit Catchpoint 1 (signal SIGSEGV)"));
}

TEST_CASE("without our catchpoint gdb stops at every fault, and says that the catchpoint is gone") {
  if (gdb_is_missing()) {
    return;
  }
  const std::string said = debug("grow pipe_helper", {"delete 1", "run"});
  CAPTURE(said);
  CHECK(contains(said, "its catchpoint is gone"));
  CHECK(contains(said, "received signal SIGSEGV"));
}

TEST_CASE("the script may be sourced twice") {
  if (gdb_is_missing()) {
    return;
  }
  const std::string said =
      debug("overflow pipe_helper", {source_the_script[0], "run", "info breakpoints"});
  CAPTURE(said);
  CHECK(contains(said, "hit Catchpoint 2 (signal SIGSEGV)"));
  CHECK_FALSE(matches(said, "\n1 +catchpoint"));
}

// ---- what is listed -----------------------------------------------------------------------------

namespace {

/// Prints the line that gdb has to print for a stack. No thread runs there if `thread` is 0.
void tell(const Stack& stack, std::string_view name, std::string_view strategy, int thread) {
  const auto from_base = [&](const void* address) {
    return static_cast<std::size_t>(static_cast<const char*>(stack.base()) -
                                    static_cast<const char*>(address));
  };
  std::printf("EXPECTED %p %p %p %zu %zu %zu %llu %s ", stack.base(), stack.limit(), stack.floor(),
              stack.reserved(), from_base(stack.limit()), stack.high_water_mark(),
              static_cast<unsigned long long>(stack.counters().growth_faults),
              std::string(strategy).c_str());
  std::printf(thread == 0 ? "- " : "%d ", thread);
  std::printf("%s\n", std::string(name).c_str());
}

/// Makes two idle stacks of different strategies, one of which was deep, and a stack on which a
/// thread waits. Aborts on a fourth one.
void abort_with_four_stacks() {
  const Stack fresh({.reserve = 3 * MiB, .strategy = Strategy::in_handler, .name = "fresh one"});
  Stack trimmed({.reserve = 256 * MiB, .name = "was deep"});
  call(trimmed, [] { recurse(40'000); });
  static_cast<void>(trimmed.trim());
  Stack waits({.reserve = 8 * MiB, .name = "waits"});
  Stack aborts({.reserve = 8 * MiB, .name = "aborts"});
  std::binary_semaphore arrived(0);
  std::thread([&] {
    call(waits, [&] {
      recurse(1'000);
      arrived.release();
      pause();
    });
  }).detach();
  arrived.acquire();
  call(aborts, [&] {
    recurse(5'000);
    tell(fresh, "fresh one", "in_handler", 0);
    tell(trimmed, "was deep", "pipe_helper", 0);
    tell(aborts, "aborts", "pipe_helper", 1);
    std::printf("ADDRESS %p\n", static_cast<void*>(static_cast<char*>(fresh.floor()) + 100));
    std::fflush(stdout);
    std::abort();
  });
}

/// Returns the words of a line.
std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) {
    words.push_back(word);
  }
  return words;
}

std::vector<std::vector<std::string>> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::vector<std::string>> lines;
  for (std::string line; std::getline(stream, line);) {
    lines.push_back(words_of(line));
  }
  return lines;
}

/// Checks that gdb printed each line that the program told it to. Returns the number of these
/// lines.
std::size_t lines_found(const std::string& program, const std::string& gdb) {
  const auto seen = lines_of(gdb);
  std::size_t found = 0;
  for (const std::vector<std::string>& line : lines_of(program)) {
    if (!line.empty() && line[0] == "EXPECTED") {
      const std::vector<std::string> wanted(line.begin() + 1, line.end());
      CAPTURE(line);
      CHECK(std::count(seen.begin(), seen.end(), wanted) == 1);
      ++found;
    }
  }
  return found;
}

/// Returns whether the stack is listed on which a thread waits. Its thread may have any number.
bool lists_the_waiting_one(const std::string& text) {
  return matches(text, "0x[0-9a-f]+ .* pipe_helper +[2-9]  waits\n");
}

}  // namespace

GROWSTACK_SCENARIO("four stacks") {
  if (const char* const folder = std::getenv("GROWSTACK_TEST_FOLDER"); folder != nullptr) {
    allow_cores_in(folder);
  } else {
    no_core();
  }
  abort_with_four_stacks();
  return 0;
}

TEST_CASE("growstack stacks lists each stack of a live process, and which thread runs there") {
  if (gdb_is_missing()) {
    return;
  }
  const std::string said = debug("four stacks", {"run", "growstack stacks"});
  CAPTURE(said);
  CHECK(lines_found(said, said) == 3);
  CHECK(lists_the_waiting_one(said));
  // Stacks that are in use come first.
  CHECK(said.find("  aborts\n") < said.find("  fresh one\n"));
}

TEST_CASE("growstack stack tells what an address is") {
  if (gdb_is_missing()) {
    return;
  }
  const std::string said = debug("four stacks", {"run", "growstack stack", "growstack stack $sp",
                                                 "growstack stack &growstack_debug"});
  CAPTURE(said);
  CHECK(
      matches(said, "0x[0-9a-f]+ is [0-9]+ bytes below the base of stack \"aborts\": committed\n"));
  CHECK(contains(said, "it is none of growstack's addresses"));
}

TEST_CASE("growstack stacks lists the same from a core dump") {
  if (gdb_is_missing()) {
    return;
  }
  if (const std::string reason = no_core_because(); !reason.empty()) {
    return skip(reason);
  }
  const Folder folder;
  setenv("GROWSTACK_TEST_FOLDER", folder.path().c_str(), 1);
  const Ended ended = run_scenario("four stacks");
  unsetenv("GROWSTACK_TEST_FOLDER");
  CHECK(ended.signal == SIGABRT);
  const std::vector<std::filesystem::path> files = folder.files();
  REQUIRE(files.size() == 1);
  std::vector<std::string> words =
      gdb_words({source_the_script[0], "growstack stacks", "growstack stack"});
  words.insert(words.end(), {std::filesystem::read_symlink("/proc/self/exe"), files[0]});
  const std::string said = say(run_program(words, std::chrono::seconds(100)));
  CAPTURE(said);
  CHECK(lines_found(ended.out, said) == 3);
  CHECK(lists_the_waiting_one(said));
  CHECK(contains(said, "bytes below the base of stack \"aborts\": committed"));
}

TEST_CASE("a stripped program shows as much") {
  if (gdb_is_missing()) {
    return;
  }
  const Folder folder;
  const std::string stripped = folder.path() / "stripped";
  std::filesystem::copy_file("/proc/self/exe", stripped);
  if (run_program({"strip", stripped}).exit_code != 0) {
    return skip("there is no strip");
  }
  const std::string said = debug("four stacks", {"run", "growstack stacks"}, stripped);
  CAPTURE(said);
  CHECK(lines_found(said, said) == 3);
  const std::string of_overflow = debug("overflow pipe_helper", {"run"}, stripped);
  CAPTURE(of_overflow);
  CHECK(contains(of_overflow, "growstack: stack overflow: stack \"doomed\""));
}

GROWSTACK_SCENARIO("very many stacks") {
  no_core();
  StackPool pool({.reserve = 64 * KiB, .guard = 4096, .strategy = Strategy::pipe_helper});
  std::vector<Stack> stacks;
  for (int count = 0; count < 150; ++count) {
    stacks.push_back(pool.acquire("one of many"));
  }
  call({.name = "runs"}, [] { std::abort(); });
  return 0;
}

TEST_CASE(
    "growstack stacks lists 100 stacks or as many as asked for, "
    "first those that run, and counts the rest") {
  if (gdb_is_missing()) {
    return;
  }
  const auto listed = [](const std::string& text) {
    const auto lines = lines_of(text);
    return std::count_if(lines.begin(), lines.end(), [](const auto& line) {
      return line.size() >= 10 && line[0].starts_with("0x") && line[7] == "pipe_helper";
    });
  };
  const std::string said = debug("very many stacks", {"run", "growstack stacks"});
  CAPTURE(said);
  CHECK(listed(said) == 100);
  CHECK(matches(said, "\n[5-9][0-9] more: growstack stacks -limit [0-9]+\n"));
  CHECK(said.find("  runs\n") < said.find("  one of many\n"));
  CHECK(listed(debug("very many stacks", {"run", "growstack stacks -limit 7"})) == 7);
  CHECK(listed(debug("very many stacks", {"run", "growstack stacks -limit 0"})) > 150);
}

// ---- when there is nothing to see ---------------------------------------------------------------

TEST_CASE("the commands say so if the program does not run yet, or has no growstack in it") {
  if (gdb_is_missing()) {
    return;
  }
  const std::string before = debug("does nothing", {"growstack stacks"});
  CAPTURE(before);
  CHECK(contains(before, "The program is not being run"));
  const std::string at_start = debug("does nothing", {"starti", "growstack stacks"});
  CAPTURE(at_start);
  CHECK(contains(at_start, "No live stacks."));
  std::vector<std::string> words = gdb_words({source_the_script[0], "starti", "growstack stacks"});
  words.insert(words.end(), {"--args", "sleep", "0"});
  const std::string without = say(run_program(words));
  CAPTURE(without);
  CHECK(contains(without, "No growstack in this program"));
  CHECK(contains(debug("does nothing", {"starti", "growstack stacks rubbish"}),
                 "Usage: growstack stacks [-limit N]"));
}
