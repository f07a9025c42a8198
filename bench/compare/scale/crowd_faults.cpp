// What does one growth fault cost in a process with very many stacks, compared with one that has no
// other?
#include "parts/errors.hpp"
#include "parts/memory.hpp"
#include "parts/one_fault.hpp"
#include "parts/samples.hpp"
#include "run/measurement.hpp"
#include "subjects/pools.hpp"

#include <growstack/growstack.hpp>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <memory>
#include <random>
#include <stdexcept>

namespace growstack::compare {
namespace {

// ---- in the child -------------------------------------------------------------------------------

/// A process with so many other stacks, which times a fault when it is asked to. Nothing of the
/// library may run in the process that makes it.
class Process {
 public:
  Process(const std::string& strategy, std::size_t stacks) {
    std::array<int, 2> ends{};
    bench::require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0,
                   "socketpair");
    process_ = fork();
    if (process_ == 0) {
      close(ends[0]);
      serve(ends[1], strategy, stacks);
    }
    close(ends[1]);
    socket_ = ends[0];
    if (process_ < 0) {
      close(socket_);
      bench::throw_error("fork");
    }
  }
  ~Process() {
    close(socket_);
    kill(process_, SIGKILL);  // it may be at work, and others may have its socket
    waitpid(process_, nullptr, 0);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  double ask() {
    const char question = 0;
    double nanoseconds = 0;
    if (send(socket_, &question, 1, MSG_NOSIGNAL) != 1 ||
        recv(socket_, &nanoseconds, sizeof nanoseconds, MSG_WAITALL) != sizeof nanoseconds) {
      throw std::runtime_error("a process with stacks ended");  // it wrote why to standard error
    }
    return nanoseconds;
  }

 private:
  [[noreturn]] static void serve(int socket, const std::string& strategy, std::size_t stacks) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    try {
      StackPool pool(small_stacks(strategy));
      std::vector<Stack> others;  // not entered: they are registered, and take no memory
      others.reserve(stacks);
      while (others.size() < stacks) {
        others.push_back(pool.acquire());
      }
      char question = 0;
      while (recv(socket, &question, 1, 0) == 1) {
        const double nanoseconds = bench::time_one_fault(strategy_named(strategy));
        send(socket, &nanoseconds, sizeof nanoseconds, MSG_NOSIGNAL);
      }
    } catch (const std::exception& error) {
      fmt::print(stderr, "{}\n", error.what());
    }
    _exit(EXIT_FAILURE);
  }

  pid_t process_ = -1;
  int socket_ = -1;
};

struct Asked {
  std::unique_ptr<Process> process;
  std::vector<double> nanoseconds{};
};

/// Answers {"strategy", "stacks", "rounds"} with {"one_ns", "many_ns", "ratio", "noise"}.
nlohmann::json measure(const nlohmann::json& request, Progress& progress) {
  const unsigned rounds = request.at("rounds");
  const std::size_t stacks = request.at("stacks");
  bench::warm_memory(4 * bench::one_fault_reserve);
  bench::prepare_to_time_pages();
  std::array<Asked, 3> all;
  for (std::size_t index = 0; index < all.size(); ++index) {
    all[index].process = std::make_unique<Process>(request.at("strategy"), index < 2 ? 0 : stacks);
    all[index].process->ask();  // not counted
  }
  std::array<std::size_t, all.size()> turns{0, 1, 2};
  std::mt19937 order;  // the same in every run
  for (unsigned round = 0; round < rounds; ++round) {
    progress.say("one fault among stacks:", round, rounds);
    std::shuffle(turns.begin(), turns.end(), order);
    for (const std::size_t turn : turns) {
      all[turn].nanoseconds.push_back(all[turn].process->ask());
    }
  }
  const auto& [alone, alone_too, among_many] = all;
  return {{"one_ns", bench::median(alone.nanoseconds)},
          {"many_ns", bench::median(among_many.nanoseconds)},
          {"ratio", bench::median_ratio(among_many.nanoseconds, alone.nanoseconds).value()},
          {"noise", bench::median_ratio(alone_too.nanoseconds, alone.nanoseconds).value()}};
}

// ---- in the parent ------------------------------------------------------------------------------

std::vector<Row> rows(const Outcome& its, const Outcomes&) {
  const std::uint64_t others = its.request.at("stacks");
  return {
      its.row("fault_latency_ratio", "ratio", "ratio",
              fmt::format("one growth fault beside {} other stacks to one beside none",
                          grouped(others))),
      its.row("fault_latency_noise", "noise", "ratio", "beside none in another process, the same")};
}

constexpr std::array columns{
    Column{"no other", "one_ns", grouped}, Column{"very many others", "many_ns", grouped},
    Column{"no other = 1", "ratio", decimals<2>}, Column{"no other again", "noise", decimals<2>}};

const Registered registered(
    {.name = "crowd_faults",
     .group = "scale",
     .title = "ONE FAULT AMONG STACKS",
     .what =
         "One touch of one page, on a stack that grows by one page at a time, in a process with "
         "very many other stacks (--stacks), none of which was entered, and in one with no other. "
         "The figures are medians of rounds in which these processes take turns; there are two "
         "with no other.",
     .subjects = those_for_many,
     .ask = ask_each,
     .request = [](const Session& session, const Subject& subject) -> nlohmann::json {
       return {{"strategy", subject.name},
               {"stacks", session.stacks_at_once(1'000'000, 100'000)},
               {"rounds", session.rounds(60, 10)}};
     },
     .measure = measure,
     .rows = rows,
     .lines = "ns for one page",
     .columns = columns,
     .aims = []() -> std::vector<Aim> {
       return {{"one fault among stacks, no other = 1", value_of("fault_latency_ratio"),
                for_markers(1.10),
                noise_in(std::string(name(Strategy::guard_markers)), "fault_latency_noise")}};
     }});

}  // namespace
}  // namespace growstack::compare
