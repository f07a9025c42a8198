// What does growstack cost the threads of a program that never use it?
#include "first/lines.hpp"
#include "others/program.hpp"
#include "parts/clock.hpp"
#include "parts/errors.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <memory>
#include <utility>

namespace growstack::compare {
namespace {

const std::string peer_name(glibc_thread_name);
constexpr std::size_t page = 4096;

// ---- what a thread does -------------------------------------------------------------------------

/// Touches fresh pages, and gives them back outside of the timing.
double fault(unsigned times) {
  constexpr std::size_t pages = 256;
  static char* const memory = [] {
    void* const mapped =
        mmap(nullptr, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bench::require(mapped != MAP_FAILED, "mmap");
    madvise(mapped, pages * page, MADV_NOHUGEPAGE);
    return static_cast<char*>(mapped);
  }();
  double nanoseconds = 0;
  for (unsigned done = 0; done < times;) {
    const auto these = std::min<std::size_t>(pages, times - done);
    const auto before = bench::Clock::now();
    for (std::size_t each = 0; each < these; ++each) {
      static_cast<volatile char*>(memory)[each * page] = 1;
    }
    nanoseconds += bench::nanoseconds_since(before);
    madvise(memory, pages * page, MADV_DONTNEED);
    done += static_cast<unsigned>(these);
  }
  return nanoseconds / times;
}

double ask_kernel(unsigned times) {
  return time_each(times, [] { syscall(SYS_getppid); });
}

double read_a_byte(unsigned times) {
  static const int zeros = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  char byte = 0;
  return time_each(times, [&] { static_cast<void>(!read(zeros, &byte, 1)); });
}

double map_and_unmap(unsigned times) {
  return time_each(times, [] {
    munmap(mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), page);
  });
}

double signal_itself(unsigned times) {
  std::signal(SIGUSR1, [](int) {});
  const pid_t process = getpid();
  const pid_t self = gettid();
  return time_each(times, [=] { syscall(SYS_tgkill, process, self, SIGUSR1); });
}

struct Kind {
  const char* section;
  const char* metric;
  Work work;
};
constexpr std::array kinds{
    Kind{"ns for a page fault", "others_fault_ns", fault},
    Kind{"ns for getppid", "others_system_call_ns", ask_kernel},
    Kind{"ns for a read of one byte", "others_read_ns", read_a_byte},
    Kind{"ns for mmap and munmap of one page", "others_mapping_ns", map_and_unmap},
    Kind{"ns for a signal to itself", "others_signal_ns", signal_itself},
};

// ---- in the child -------------------------------------------------------------------------------

/// Times the work in a program, and then in another one of the same kind: where the kernel puts a
/// process in memory makes a difference, too, which must not look like one of growstack's.
Timing in_programs(Work work, const std::optional<std::string>& strategy) {
  constexpr unsigned times_of_a_program = 12;
  struct State {
    std::unique_ptr<Program> program{};
    unsigned left = 0;
  };
  return [=, state = std::make_shared<State>()](unsigned times) {
    if (state->left == 0) {
      state->program = std::make_unique<Program>(work, strategy);
      static_cast<void>(state->program->time(times));  // warms it up
      state->left = times_of_a_program;
    }
    --state->left;
    return state->program->time(times);
  };
}

Lines lines(const std::vector<std::string>& strategies) {
  Lines all;
  for (const Kind& kind : kinds) {
    const std::string base = std::string("without growstack, ") + (kind.metric + 7);
    all.push_back(plain_line(base, peer_name, kind.section, kind.metric,
                             [&kind] { return in_programs(kind.work, std::nullopt); }));
    for (const std::string& each : strategies) {
      Line line = line_with_aim(
          plain_line(each + std::string(", ") + (kind.metric + 7), each, kind.section, kind.metric,
                     [&kind, each] { return in_programs(kind.work, each); }),
          {{{base}}}, 1.00);
      line.mark_by_interval = true;
      all.push_back(std::move(line));
    }
  }
  return all;
}

// ---- in the parent ------------------------------------------------------------------------------

constexpr std::array columns{
    Column{"figure", "figure", short_number}, Column{"without", "beside", short_number},
    Column{"ratio", "ratio", decimals<3>},    Column{"95 % interval", "interval", decimals<3>},
    Column{"at most", "aim", decimals<2>},    Column{"again", "noise", decimals<3>}};

Measurement measurement() {
  Measurement its = measurement_of_lines<lines>(
      {.name = "others",
       .group = "others",
       .title = "OTHERS: THREADS THAT NEVER USE GROWSTACK",
       .what =
           "What a thread pays that never uses growstack, in a program where growstack is active: "
           "its handler is installed, its threads run, and 200 stacks live that have grown. It "
           "is compared with the same thread in a program of two threads that does not use "
           "growstack. Each program is a process, and a new one takes its place every few rounds. "
           "The figures are medians of rounds in which all take turns. An aim counts as missed "
           "only "
           "if it lies outside of the interval.",
       .subjects = grow_by_events,
       .rounds = {120, 5},
       .lines = "one thread"});
  its.columns = columns;
  return its;
}

const Registered registered(measurement());

}  // namespace
}  // namespace growstack::compare
