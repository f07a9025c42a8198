#include "proofs/failures/every_failure.hpp"

#include "proofs/failures/supervisor.hpp"
#include "proofs/failures/verdict.hpp"

#include "support/limits.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <map>
#include <vector>

namespace growstack::testing {
namespace {

struct Tally {
  std::size_t runs = 0;
  std::size_t not_met = 0;
  std::map<Outcome, std::size_t> outcomes;
  std::vector<std::string> bad;
};

std::string described(const Call& call, const Failure& failure) {
  return name_of(call.data) + " #" + std::to_string(call.place.occurrence + 1) + " of \"" +
         call.thread + "\"" +
         (call.place.process == 0 ? "" : " in child " + std::to_string(call.place.process)) +
         " answers " + name_of(failure.answer) + (failure.for_good ? ", and so ever after" : "");
}

/// Threads may take turns in another way, so that a call does not come: then tries again.
Run run_until_met(const std::function<void()>& body, const Failure& failure) {
  constexpr int most_tries = 6;
  Run run = run_watched(body, &failure);
  for (int tries = 1; !run.has_failed && !run.is_stopped && tries < most_tries; ++tries) {
    run = run_watched(body, &failure);
  }
  return run;
}

/// A call that may fail. It is steady if it comes each time, and not only as threads take turns.
struct Candidate {
  Call call;
  unsigned times = 0;
};
constexpr unsigned looks = 3;

bool place_is_sure(const Call& call) { return call.place.number != SYS_futex; }

void try_one(const Candidate& candidate, const Failure& failure, const std::function<void()>& body,
             const Ending& ending, const Run& usual, Tally& tally) {
  const Call& call = candidate.call;
  const Run run = run_until_met(body, failure);
  ++tally.runs;
  if (!run.has_failed && !run.is_stopped) {
    ++tally.not_met;
    // Whether a thread must wait depends on the other one.
    if (candidate.times == looks && place_is_sure(call)) {
      tally.bad.push_back(described(call, failure) + ": the call did not come again");
    }
  }
  const Verdict verdict = judge(run, usual, std::pair(call, failure), ending);
  ++tally.outcomes[verdict.outcome];
  if (verdict.outcome == Outcome::bad) {
    tally.bad.push_back(described(call, failure) + ": " + verdict.why);
  }
}

/// Returns whether the kernel may go on to answer so: a filter and a limit do.
bool lasts(const Answer& answer) {
  return answer.kind == Answer::refusal && (answer.error == EPERM || answer.error == ENOMEM);
}

/// Returns the calls of several runs in which nothing fails.
std::map<Place, Candidate> candidates_of(const std::function<void()>& body, const Run& first) {
  std::map<Place, Candidate> candidates;
  const auto add = [&](const Run& run) {
    for (const Call& call : run.calls) {
      candidates.try_emplace(call.place, Candidate{call}).first->second.times += 1;
    }
  };
  add(first);
  for (unsigned look = 1; look < looks; ++look) {
    add(run_watched(body));
  }
  return candidates;
}

void print_row(const std::string& what, const Traits& of, std::size_t calls, Tally& tally) {
  std::printf("| %s | %s | %zu | %zu | %zu | %zu | %zu | %zu | %zu | %zu | %zu |\n", what.c_str(),
              std::string(of.name).c_str(), calls, tally.runs, tally.outcomes[Outcome::works],
              tally.outcomes[Outcome::exception], tally.outcomes[Outcome::bad_alloc],
              tally.outcomes[Outcome::report], tally.outcomes[Outcome::libc], tally.not_met,
              tally.outcomes[Outcome::bad]);
  std::fflush(stdout);
}

}  // namespace

void try_every_failure(const std::string& what, WatchedScenario scenario, const Traits& of,
                       const Ending& ending) {
  set_soft_limit(RLIMIT_CORE, 0);
  // So that malloc maps no memory of its own, which only malloc could give back.
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  const std::function<void()> body = [&] { run_in_watched_process(scenario, of); };
  const Run usual = run_watched(body);
  const Verdict verdict = judge(usual, usual, {}, ending);
  CAPTURE(verdict.why);
  CAPTURE(usual.err);
  REQUIRE(verdict.outcome == (ending.report.empty() ? Outcome::works : Outcome::report));
  REQUIRE(!usual.calls.empty());

  Tally tally;
  const std::map<Place, Candidate> candidates = candidates_of(body, usual);
  for (const auto& [place, candidate] : candidates) {
    const Call& call = candidate.call;
    if (place.occurrence >= ending.most_alike) {
      continue;
    }
    const std::vector<Answer> answers = answers_of(call.data);
    CAPTURE(name_of(call.data));
    CHECK_FALSE(answers.empty());
    for (const Answer& answer : answers) {
      for (const bool for_good : {false, true}) {
        if (!for_good || lasts(answer)) {
          try_one(candidate, {.place = place, .answer = answer, .for_good = for_good}, body, ending,
                  usual, tally);
        }
      }
    }
  }
  print_row(what, of, candidates.size(), tally);
  for (const std::string& each : tally.bad) {
    std::printf("  BAD %s\n", each.c_str());
  }
  CHECK(tally.bad.empty());
}

std::string obstacle(const Traits& of) {
  if (of.locks_memory) {
    raise_soft_limit(RLIMIT_MEMLOCK);
  }
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    return "no pipe";
  }
  const pid_t child = fork();
  if (child == 0) {
    const Support here = supported(of.strategy);
    const std::string why = here ? "" : here.reason + ".";
    const bool is_told = write(ends[1], why.data(), why.size()) >= 0;
    _exit(is_told ? 0 : 1);
  }
  close(ends[1]);
  std::array<char, 4096> buffer;
  const ssize_t bytes = read(ends[0], buffer.data(), buffer.size());
  close(ends[0]);
  waitpid(child, nullptr, 0);
  return std::string(buffer.data(), bytes < 0 ? 0 : static_cast<std::size_t>(bytes));
}

}  // namespace growstack::testing
