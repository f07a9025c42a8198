// The machine: what a reader must know before comparing these figures with another machine's.
#include "run/group.hpp"

#include "parts/memory.hpp"

#include <growstack/handler/pages.hpp>

#include <fmt/format.h>

#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <system_error>

namespace growstack::compare {
namespace {

std::string first_line_of(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string processor() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with("model name")) {
      return line.substr(line.find(':') + 2);
    }
  }
  return "unknown";
}

int usable_processors() {
  cpu_set_t allowed;
  return sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 0;
}

std::string kernel() {
  utsname name{};
  if (uname(&name) != 0) {
    throw std::system_error(errno, std::generic_category(), "uname");
  }
  return fmt::format("{} {} {}", name.sysname, name.release, name.machine);
}

/// "always [madvise] never" as "madvise".
std::string chosen(const std::string& choices) {
  const std::size_t begin = choices.find('[');
  const std::size_t end = choices.find(']');
  return begin == std::string::npos || end == std::string::npos
             ? "none"
             : choices.substr(begin + 1, end - begin - 1);
}

std::string in_words(rlim_t limit) {
  return limit == RLIM_INFINITY ? "unlimited" : in_units(limit);
}

/// Two columns of facts, and the same as rows.
class Facts {
 public:
  explicit Facts(Session& session) : session_(session) {}

  void add(const std::string& title, const std::string& metric, const std::string& text,
           std::optional<double> value = std::nullopt, const std::string& unit = "") {
    table_.add({title, text});
    session_.add(
        {.subject = "machine", .metric = metric, .value = value, .unit = unit, .note = text});
  }

  void add_limit(const std::string& name, const std::string& metric, __rlimit_resource_t resource) {
    rlimit limit{};
    if (getrlimit(resource, &limit) != 0) {
      throw std::system_error(errno, std::generic_category(), "getrlimit");
    }
    const std::string text = limit.rlim_cur == limit.rlim_max
                                 ? in_words(limit.rlim_cur)
                                 : fmt::format("{} (can be raised: {})", in_words(limit.rlim_cur),
                                               in_words(limit.rlim_max));
    add(name, metric, text,
        limit.rlim_cur == RLIM_INFINITY ? std::nullopt
                                        : std::optional(static_cast<double>(limit.rlim_cur)),
        "bytes");
  }

  [[nodiscard]] const Table& table() const noexcept { return table_; }

 private:
  Session& session_;
  Table table_{{"of this process", "value"}, 2};
};

void add_setting(Facts& facts, const std::string& name, const std::string& metric, const char* path,
                 const std::string& meaning) {
  const std::string text = first_line_of(path);
  const bool known = !text.empty();
  facts.add(name, metric, known ? grouped(std::uint64_t{std::stoull(text)}) + meaning : "unknown",
            known ? std::optional(std::stod(text)) : std::nullopt);
}

}  // namespace

void report_machine(Session& session) {
  Facts facts(session);
  const auto cores = static_cast<double>(sysconf(_SC_NPROCESSORS_ONLN));
  const auto page = static_cast<double>(handler::page_size());
  const auto memory = static_cast<double>(bench::meminfo_bytes("MemTotal"));
  constexpr double gibibyte = 1024.0 * 1024 * 1024;
  facts.add("kernel", "kernel", kernel());
  facts.add("processor", "processor", processor());
  facts.add("processors", "processors",
            fmt::format("{} online, {} for this process", cores, usable_processors()), cores);
  facts.add("memory", "memory",
            fmt::format("{:.1f} GiB, {:.1f} available", memory / gibibyte,
                        static_cast<double>(bench::meminfo_bytes("MemAvailable")) / gibibyte),
            memory, "bytes");
  facts.add("page size", "page_size", in_units(handler::page_size()), page, "bytes");
  facts.add("huge pages", "huge_pages",
            chosen(first_line_of("/sys/kernel/mm/transparent_hugepage/enabled")));
  add_setting(facts, "vm.max_map_count", "max_map_count", "/proc/sys/vm/max_map_count",
              " mappings in one process");
  add_setting(facts, "vm.overcommit_memory", "overcommit_memory", "/proc/sys/vm/overcommit_memory",
              "");
  facts.add_limit("RLIMIT_STACK", "rlimit_stack", RLIMIT_STACK);
  facts.add_limit("RLIMIT_AS", "rlimit_as", RLIMIT_AS);
  facts.add_limit("RLIMIT_DATA", "rlimit_data", RLIMIT_DATA);
  facts.add_limit("RLIMIT_MEMLOCK", "rlimit_memlock", RLIMIT_MEMLOCK);
  session.print_title("MACHINE", "What the figures below hold for.");
  session.print(facts.table());
}

}  // namespace growstack::compare
