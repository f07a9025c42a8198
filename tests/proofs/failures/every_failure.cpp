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
  std::map<std::string, bool> met;  ///< calls, and whether one of their failures came about
  std::map<Outcome, std::size_t> outcomes;
  std::vector<std::string> bad;

  void note_bad(const std::string& what) {
    ++outcomes[Outcome::bad];
    bad.push_back(what);
  }
};

std::string described(const Call& call, const Failure& failure) {
  return name_of(call.data) + " #" + std::to_string(call.place.occurrence + 1) + " of \"" +
         call.thread + "\"" +
         (call.place.process == 0 ? "" : " in child " + std::to_string(call.place.process)) +
         " answers " + name_of(failure.answer) + (failure.for_good ? ", and so ever after" : "");
}

/// Threads may take turns in another way, so that a call does not come: then tries again.
Run run_until_met(const std::function<void()>& body, const Failure& failure) {
  constexpr int most_tries = 12;
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
  const Verdict verdict = judge(run, usual, std::pair(call, failure), ending);
  if (run.has_no_part && verdict.outcome != Outcome::bad) {
    return;  // at the end of a file: nobody could answer so
  }
  ++tally.runs;
  bool& is_met = tally.met.try_emplace(name_of(call.data)).first->second;
  is_met = is_met || run.has_failed;
  if (verdict.outcome == Outcome::bad) {
    tally.note_bad(described(call, failure) + ": " + verdict.why);
  } else if (run.has_failed) {
    ++tally.outcomes[verdict.outcome];
  } else if (candidate.times == looks && place_is_sure(call)) {
    tally.note_bad(described(call, failure) + ": the call did not come again");
  } else {
    ++tally.not_met;  // whether a thread must wait depends on the other one
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
  std::printf("| %s | %s | %zu | %zu |", what.c_str(), std::string(of.name).c_str(), calls,
              tally.runs);
  for (const Outcome each : {Outcome::works, Outcome::returned, Outcome::exception,
                             Outcome::bad_alloc, Outcome::report, Outcome::libc}) {
    std::printf(" %zu |", tally.outcomes[each]);
  }
  std::printf(" %zu | %zu |\n", tally.not_met, tally.outcomes[Outcome::bad]);
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
      if (answer.kind == Answer::one_byte && !call.gives_parts) {
        continue;
      }
      for (const bool for_good : {false, true}) {
        if (!for_good || lasts(answer)) {
          try_one(candidate, {.place = place, .answer = answer, .for_good = for_good}, body, ending,
                  usual, tally);
        }
      }
    }
  }
  for (const auto& [call, is_met] : tally.met) {
    // Malloc may have what it needs from the test itself, and a thread may never have to wait.
    if (!is_met && call != "brk" && !call.starts_with("futex")) {
      tally.bad.push_back(call + ": no run has met a failure of it");
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
