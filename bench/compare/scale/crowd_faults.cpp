// The group scale: one growth fault in a process with very many stacks, beside one with no other.
#include "run/group.hpp"

#include "parts/descent.hpp"
#include "parts/memory.hpp"
#include "parts/samples.hpp"
#include "run/child.hpp"
#include "subjects/pool_subject.hpp"

#include <growstack/growstack.hpp>

#include <fmt/format.h>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <exception>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace growstack::compare {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t pages = 512;  // of one fresh stack, one fault each
constexpr std::size_t reserve = std::size_t{4} * 1024 * 1024;

// ---- in the child -------------------------------------------------------------------------------

/// One fresh stack. Making it is not in the time.
double time_one_stack() {
  Stack stack(
      {.reserve = reserve, .policy = bench::page_by_page, .strategy = many, .name = "faults"});
  std::vector<double> nanoseconds(pages);
  call(stack, [&] { bench::time_each_page(nanoseconds, 0ns); });
  return bench::median(nanoseconds);
}

/// Stacks that are there, and not entered: they are registered, and take no memory.
std::vector<Stack> others(StackPool& pool, std::size_t count) {
  std::vector<Stack> stacks;
  stacks.reserve(count);
  for (std::size_t each = 0; each < count; ++each) {
    stacks.push_back(pool.acquire());
  }
  return stacks;
}

[[noreturn]] void fail(const char* call) {
  throw std::system_error(errno, std::generic_category(), call);
}

/// A process with so many other stacks, which times a fault when it is asked to. Nothing of the
/// library runs where it is made.
class Process {
 public:
  explicit Process(std::size_t other_stacks) {
    std::array<int, 2> ends{};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
      fail("socketpair");
    }
    process_ = fork();
    if (process_ == 0) {
      close(ends[0]);
      serve(ends[1], other_stacks);
    }
    close(ends[1]);
    socket_ = ends[0];
    if (process_ < 0) {
      close(socket_);
      fail("fork");
    }
  }
  ~Process() {
    close(socket_);
    kill(process_, SIGKILL);  // it may be at work, and others may have its socket
    waitpid(process_, nullptr, 0);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// Nanoseconds. Throws what kept it from having its stacks.
  double ask() {
    const char question = 0;
    Reply reply;
    if (send(socket_, &question, 1, MSG_NOSIGNAL) != 1 ||
        recv(socket_, &reply, sizeof reply, MSG_WAITALL) != sizeof reply) {
      throw std::runtime_error("a process with stacks died");
    }
    if (reply.refusal.front() != '\0') {
      throw std::runtime_error(reply.refusal.data());
    }
    return reply.nanoseconds;
  }

 private:
  struct Reply {
    double nanoseconds = 0;
    std::array<char, 256> refusal{};  // empty if there is none
  };

  [[noreturn]] static void serve(int socket, std::size_t other_stacks) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    Reply reply;
    try {
      StackPool pool(small_stacks(std::string(name(many))));
      const std::vector<Stack> stacks = others(pool, other_stacks);
      char question = 0;
      while (recv(socket, &question, 1, 0) == 1) {
        reply.nanoseconds = time_one_stack();
        send(socket, &reply, sizeof reply, MSG_NOSIGNAL);
      }
    } catch (const std::exception& error) {
      std::string_view(error.what()).copy(reply.refusal.data(), reply.refusal.size() - 1);
      send(socket, &reply, sizeof reply, MSG_NOSIGNAL);
    }
    pause();  // until it is killed: a question after its end would fail otherwise, and the refusal
              // not be read
    _exit(EXIT_SUCCESS);
  }

  pid_t process_ = -1;
  int socket_ = -1;
};

struct Contender {
  std::unique_ptr<Process> process;
  std::vector<double> nanoseconds{};
};

}  // namespace

/// {"stacks", "rounds"} to {"one_ns", "many_ns", "ratio", "noise"}.
nlohmann::json measure_crowd_faults(const nlohmann::json& request, Progress& progress) {
  const unsigned rounds = request.at("rounds");
  const std::size_t stacks = request.at("stacks");
  bench::warm_memory(4 * reserve);
  std::vector<double> once(1);
  bench::time_each_page(
      once,
      1ns);  // so that no function's first call, which takes much stack, falls into the figures
  progress.say("scale: one fault among stacks");
  std::array<Contender, 3> contenders;
  for (std::size_t index = 0; index < contenders.size(); ++index) {
    contenders[index].process = std::make_unique<Process>(index < 2 ? 0 : stacks);
    contenders[index].process->ask();  // not counted
  }
  std::array<std::size_t, contenders.size()> turns{0, 1, 2};
  std::mt19937 order;  // the same orders every time
  for (unsigned round = 0; round < rounds; ++round) {
    progress.say("scale: one fault among stacks:", round, rounds);
    std::shuffle(turns.begin(), turns.end(), order);
    for (const std::size_t turn : turns) {
      contenders[turn].nanoseconds.push_back(contenders[turn].process->ask());
    }
  }
  const auto& [alone, alone_too, among_many] = contenders;
  return {{"one_ns", bench::median(alone.nanoseconds)},
          {"many_ns", bench::median(among_many.nanoseconds)},
          {"ratio", bench::median_ratio(among_many.nanoseconds, alone.nanoseconds).value()},
          {"noise", bench::median_ratio(alone_too.nanoseconds, alone.nanoseconds).value()}};
}

namespace {

// ---- in the parent ------------------------------------------------------------------------------

const std::vector<std::string> metrics{"fault_latency_ratio", "fault_latency_noise"};

double value(const nlohmann::json& result, const char* member) {
  return result.at(member).get<double>();
}

void add_rows(Session& session, const std::string& subject, const nlohmann::json& result,
              std::size_t stacks) {
  session.add({.subject = subject,
               .metric = "fault_latency_ratio",
               .value = value(result, "ratio"),
               .unit = "ratio",
               .note = fmt::format("one growth fault beside {} other stacks to one beside none",
                                   grouped(std::uint64_t{stacks}))});
  session.add({.subject = subject,
               .metric = "fault_latency_noise",
               .value = value(result, "noise"),
               .unit = "ratio",
               .note = "beside none in another process, the same"});
}

Table table_of(const nlohmann::json& result, const std::string& subject, std::size_t stacks) {
  const std::string others = fmt::format("{} others", grouped(std::uint64_t{stacks}));
  Table table({"ns for one page", "no other", others, "no other = 1", "no other again"}, 1);
  table.add({subject, grouped(value(result, "one_ns")), grouped(value(result, "many_ns")),
             fmt::format("{:.2f}", value(result, "ratio")),
             fmt::format("{:.2f}", value(result, "noise"))});
  return table;
}

std::string sentence(const nlohmann::json& result, std::size_t stacks) {
  const bool is_noise =
      bench::from_one(value(result, "ratio")) <= bench::from_one(value(result, "noise"));
  return fmt::format("A page costs {:.2f} times as much beside {} other stacks as beside none{}.",
                     value(result, "ratio"), grouped(std::uint64_t{stacks}),
                     is_noise ? ", which is no more than noise" : "");
}

}  // namespace

void compare_crowd_faults(Session& session) {
  const std::size_t stacks = session.stacks_at_once(1'000'000, 100'000);
  for (const Subject& subject :
       session.strategies([](Strategy strategy) { return strategy == many; })) {
    const Answer answer =
        subject.unsupported.empty()
            ? ask_child("crowd_faults", {{"stacks", stacks}, {"rounds", session.rounds(60, 10)}},
                        session.progress())
            : Answer{.failure = subject.unsupported};
    session.print_title("ONE FAULT AMONG STACKS",
                        "One touch of one page, growing by one page a time, in a process with very "
                        "many other stacks, none "
                        "of which was entered, and in one with no other. Medians of rounds in "
                        "which these processes take "
                        "turns, the one with no other twice.");
    if (!answer.failure.empty()) {
      session.add_missing(subject.name, metrics, answer.whole_failure());
      session.print_sentences({answer.whole_failure()});
      continue;
    }
    add_rows(session, subject.name, answer.result, stacks);
    session.print(table_of(answer.result, subject.name, stacks));
    session.print_sentences({sentence(answer.result, stacks)});
  }
}

}  // namespace growstack::compare
