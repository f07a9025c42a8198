#include "proofs/running_out/shortage.hpp"

#include <growstack/growstack.hpp>

#include "proofs/running_out/ways.hpp"
#include "support/descend.hpp"
#include "support/limits.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <new>
#include <optional>
#include <string>
#include <string_view>

namespace growstack::testing {
namespace {

/// When a shortage begins.
enum class Moment : std::uint8_t {
  before_the_first,  ///< before the process has used any stack
  before_a_later,    ///< before it makes another one
  while_it_grows,    ///< while code runs on a stack, which has yet to grow
};
constexpr std::array<std::string_view, 3> moment_names{"before the first stack",
                                                       "before a later stack", "while it grows"};

constexpr std::size_t depth = 3 * MiB;

/// What malloc refuses is std::bad_alloc, as the functions that throw it say. No limit is named.
constexpr const char* no_memory_for_records = "std::bad_alloc";

constexpr std::size_t rounds = 4;
/// How a trial exits, besides 101 of require(), from best to worst.
constexpr int exit_of_works = 7;
constexpr int exit_of_left = 8;
constexpr int exit_of_error = 9;

std::map<std::string, const NamedShortage*>& shortages() {
  static std::map<std::string, const NamedShortage*> all;
  return all;
}

/// Returns how many mappings there are besides malloc's, which a forked child extends by another.
std::size_t mappings_of_ours() {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    count += line.ends_with("[heap]") ? 0U : 1U;
  }
  return count;
}

/// What is left behind if something leaks. A process that changed its user cannot read
/// /proc/self/fd, so it asks for each descriptor.
struct Holdings {
  std::size_t mappings = 0;
  std::size_t descriptors = 0;
  std::size_t threads = 0;

  static Holdings now() {
    growstack::trim();
    Holdings held{.mappings = mappings_of_ours(), .threads = thread_count()};
    for (int descriptor = 0; descriptor < 1024; ++descriptor) {
      held.descriptors += fcntl(descriptor, F_GETFD) >= 0 ? 1U : 0U;
    }
    return held;
  }
};

/// One strategy, used in one way, with a shortage that begins at one moment.
class Trial {
 public:
  Trial(const Traits& of, const Shortage& shortage, const Way& way, Moment moment)
      : of_(of), shortage_(shortage), way_(way), moment_(moment) {}

  int run() {
    no_core();
    raise_soft_limit(RLIMIT_MEMLOCK);
    if (shortage_.prepare != nullptr) {
      shortage_.prepare();
    }
    if (way_.forked) {
      require(use() == 0, "a stack of the parent works");
      go_on_in_child();
    }
    if (moment_ != Moment::before_the_first) {
      require(use() == 0, "a first stack works");
      require(use() == 0, "and a second one");
    }
    use_during_shortage();
    std::array<Holdings, rounds> after;
    for (Holdings& each : after) {
      use_during_shortage();
      each = Holdings::now();
    }
    look_for_leaks(after);
    if (shortage_.end != nullptr || outcome_ != exit_of_error) {
      require(use() == 0, "a stack works when what was missing is back");
    }
    return outcome_;
  }

 private:
  std::size_t use(const std::function<void()>& at_the_top = [] {}) {
    return way_.use(of_, at_the_top, depth);
  }

  void begin() {
    if (!has_begun_) {
      has_begun_ = true;
      shortage_.begin(of_);
    }
  }

  /// A thread that goes on in a forked child is the only one there, and has no main() to return to.
  void begin_on_the_stack() {
    const pid_t before = getpid();
    begin();
    if (way_.thread && getpid() != before) {
      _exit(descend(depth) == 0 ? exit_of_works : 101);
    }
  }

  void end() {
    if (shortage_.end != nullptr && has_begun_) {
      has_begun_ = false;
      shortage_.end();
    }
  }

  void use_during_shortage() {
    std::optional<std::size_t> wrong;
    std::string message;
    try {
      if (moment_ == Moment::while_it_grows) {
        message = error_of([&] { wrong = use([this] { begin_on_the_stack(); }); });
      } else {
        begin();
        message = error_of([&] { wrong = use(); });
      }
    } catch (const std::bad_alloc&) {
      message = no_memory_for_records;
    }
    end();
    require(wrong.value_or(0) == 0, "what was written is read");
    if (!message.empty()) {
      std::fprintf(stderr, "%s\n", message.c_str());
      outcome_ = exit_of_error;
    }
  }

  /// What leaks, leaks in each round. (What a later round leaves because it gets further than the
  /// first one, it leaves once.)
  void look_for_leaks(const std::array<Holdings, rounds>& after) {
    const auto grows = [&](std::size_t Holdings::*held) {
      return std::adjacent_find(after.begin(), after.end(), [&](const auto& then, const auto& now) {
               return now.*held <= then.*held;
             }) == after.end();
    };
    require(!grows(&Holdings::threads), "no thread is left");
    require(!grows(&Holdings::descriptors), "no descriptor is left");
    if (grows(&Holdings::mappings)) {
      require(shortage_.may_leave != nullptr && shortage_.may_leave(of_),
              "no mapping is left: " + std::to_string(after.front().mappings) + " at first, " +
                  std::to_string(after.back().mappings) + " at last");
      outcome_ = std::max(outcome_, exit_of_left);
    }
  }

  const Traits& of_;
  const Shortage& shortage_;
  const Way& way_;
  Moment moment_;
  bool has_begun_ = false;
  int outcome_ = exit_of_works;
};

/// Runs the trial that check() has chosen for this process.
int run_chosen_trial(const Traits& of) {
  const NamedShortage& named = *shortages().at(std::getenv("GROWSTACK_TEST_SHORTAGE"));
  const auto way = std::strtoul(std::getenv("GROWSTACK_TEST_WAY"), nullptr, 10);
  const auto moment = std::strtoul(std::getenv("GROWSTACK_TEST_MOMENT"), nullptr, 10);
  return Trial(of, named.shortage, ways()[way], static_cast<Moment>(moment)).run();
}
const ScenarioOfEach<run_chosen_trial> trial_scenarios("trial");

/// Returns how a trial ended, and checks that it ended in one of the ways that are allowed: in
/// particular with all the words that it owes.
Outcome outcome_of(const Ended& ended, const Shortage& shortage) {
  CAPTURE(ended.err);
  CHECK_FALSE(ended.timed_out);
  if (ended.exit_code == exit_of_works || ended.exit_code == exit_of_left) {
    CHECK(ended.err == "");
    return ended.exit_code == exit_of_works ? Outcome::works : Outcome::left;
  }
  if (ended.exit_code == exit_of_error) {
    const bool is_malloc = ended.err.starts_with(no_memory_for_records);
    CHECK((is_malloc ? shortage.concerns_malloc : matches(ended.err, shortage.error)));
    CHECK((is_malloc || ended.err.starts_with("growstack: ")));
    return Outcome::error;
  }
  CHECK_FALSE(contains(ended.err, "NOT FULFILLED"));
  CHECK((ended.signal == SIGSEGV || ended.signal == SIGBUS));
  CHECK(matches(ended.err, shortage.report));
  CHECK(contains(ended.err, "\"running out\""));
  return Outcome::report;
}

/// Returns what outcomes.txt says of a strategy with a shortage. Empty if it says nothing.
std::string expected_outcomes(const std::string& name, std::string_view strategy) {
  std::ifstream file(GROWSTACK_SOURCE_DIR "/tests/proofs/running_out/outcomes.txt");
  const std::string begin = name + " | " + std::string(strategy) + " | ";
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(begin)) {
      return line.substr(begin.size());
    }
  }
  return {};
}

}  // namespace

NamedShortage::NamedShortage(const char* its_name, const Shortage& what)
    : name(its_name), shortage(what) {
  shortages()[name] = this;
}

void check(const NamedShortage& named, const Traits& of) {
  const Shortage& shortage = named.shortage;
  if (shortage.why_not != nullptr) {
    if (const std::string reason = shortage.why_not(); !reason.empty()) {
      return skip(reason);
    }
  }
  constexpr std::array<const char*, 4> words{"works", "left", "error", "report"};
  Outcome worst = Outcome::works;
  std::string all;  // a word for each way, a letter for each moment
  setenv("GROWSTACK_TEST_SHORTAGE", named.name, 1);
  for (std::size_t way = 0; way < ways().size(); ++way) {
    all += way == 0 ? "" : " ";
    if (ways()[way].pools && !of.pools) {
      all += std::string(moment_names.size(), '-');
      continue;
    }
    setenv("GROWSTACK_TEST_WAY", std::to_string(way).c_str(), 1);
    for (std::size_t moment = 0; moment < moment_names.size(); ++moment) {
      CAPTURE(std::string(ways()[way].name));
      CAPTURE(std::string(moment_names[moment]));
      setenv("GROWSTACK_TEST_MOMENT", std::to_string(moment).c_str(), 1);
      const Ended ended = run_scenario_of("trial", of);
      const Outcome outcome = outcome_of(ended, shortage);
      worst = std::max(worst, outcome);
      all += words[static_cast<std::size_t>(outcome)][0];
      std::printf("%s, %s: %s\n", std::string(ways()[way].name).c_str(),
                  std::string(moment_names[moment]).c_str(),
                  words[static_cast<std::size_t>(outcome)]);
      const std::string first_line = ended.err.substr(0, ended.err.find('\n'));
      if (!first_line.empty()) {
        std::printf("  %s\n", first_line.c_str());
      }
    }
  }
  std::printf("OUTCOMES: %s | %s | %s\n", named.name, std::string(of.name).c_str(), all.c_str());
  CHECK(all == expected_outcomes(named.name, of.name));
  std::printf("OUTCOME: %s\n", words[static_cast<std::size_t>(worst)]);
}

void go_on_in_child() {
  const pid_t child = fork();
  require(child >= 0, "fork works");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // if the test gives up
    return;
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) {
    _exit(WEXITSTATUS(status));
  }
  signal(WTERMSIG(status), SIG_DFL);
  raise(WTERMSIG(status));
  _exit(126);
}

}  // namespace growstack::testing
