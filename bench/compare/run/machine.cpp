#include "run/machine.hpp"

#include "parts/errors.hpp"
#include "parts/memory.hpp"

#include <growstack/handler/pages.hpp>

#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fstream>

namespace growstack::compare {
namespace {

std::string first_line_of(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string kernel() {
  utsname name{};
  bench::require(uname(&name) == 0, "uname");
  return fmt::format("{} {} {}", name.sysname, name.release, name.machine);
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

/// Returns "madvise" for "always [madvise] never".
std::string chosen(const std::string& choices) {
  const std::size_t begin = choices.find('[');
  const std::size_t end = choices.find(']');
  return begin == std::string::npos || end == std::string::npos
             ? "none"
             : choices.substr(begin + 1, end - begin - 1);
}

/// A table of facts, and a row for each.
class Facts {
 public:
  explicit Facts(Session& session) : session_(session) {}

  void add(const std::string& title, const std::string& metric, const std::string& text,
           std::optional<double> value = std::nullopt, const std::string& unit = "") {
    table_.add({title, text});
    session_.add(
        {.subject = "machine", .metric = metric, .value = value, .unit = unit, .note = text});
  }

  void add_setting(const std::string& name, const std::string& metric, const char* path,
                   const std::string& meaning) {
    const std::string text = first_line_of(path);
    if (text.empty()) {
      add(name, metric, "unknown");
    } else {
      add(name, metric, grouped(std::uint64_t{std::stoull(text)}) + meaning, std::stod(text));
    }
  }

  void add_limit(const std::string& name, const std::string& metric, __rlimit_resource_t resource) {
    const auto in_words = [](rlim_t bytes) {
      return bytes == RLIM_INFINITY ? "unlimited" : in_units(bytes);
    };
    rlimit limit{};
    bench::require(getrlimit(resource, &limit) == 0, "getrlimit");
    const std::string soft = in_words(limit.rlim_cur);
    add(name, metric,
        limit.rlim_cur == limit.rlim_max
            ? soft
            : fmt::format("{} (can be raised: {})", soft, in_words(limit.rlim_max)),
        limit.rlim_cur == RLIM_INFINITY ? std::nullopt
                                        : std::optional(static_cast<double>(limit.rlim_cur)),
        "bytes");
  }

  [[nodiscard]] const Table& table() const noexcept { return table_; }

 private:
  Session& session_;
  Table table_{{"of this process", "value"}, 2};
};

}  // namespace

void report_machine(Session& session) {
  constexpr double gibibyte = 1024.0 * 1024 * 1024;
  const auto processors = static_cast<double>(sysconf(_SC_NPROCESSORS_ONLN));
  const auto memory = static_cast<double>(bench::meminfo_bytes("MemTotal"));
  const auto available = static_cast<double>(bench::meminfo_bytes("MemAvailable"));
  Facts facts(session);
  facts.add("kernel", "kernel", kernel());
  facts.add("processor", "processor", processor());
  facts.add("processors", "processors",
            fmt::format("{} online, {} for this process", processors, usable_processors()),
            processors);
  facts.add("memory", "memory",
            fmt::format("{:.1f} GiB, {:.1f} available", memory / gibibyte, available / gibibyte),
            memory, "bytes");
  facts.add("page size", "page_size", in_units(handler::page_size()),
            static_cast<double>(handler::page_size()), "bytes");
  facts.add("huge pages", "huge_pages",
            chosen(first_line_of("/sys/kernel/mm/transparent_hugepage/enabled")));
  facts.add_setting("vm.max_map_count", "max_map_count", "/proc/sys/vm/max_map_count",
                    " mappings in one process");
  facts.add_setting("vm.overcommit_memory", "overcommit_memory", "/proc/sys/vm/overcommit_memory",
                    "");
  facts.add_limit("RLIMIT_STACK", "rlimit_stack", RLIMIT_STACK);
  facts.add_limit("RLIMIT_AS", "rlimit_as", RLIMIT_AS);
  facts.add_limit("RLIMIT_DATA", "rlimit_data", RLIMIT_DATA);
  facts.add_limit("RLIMIT_MEMLOCK", "rlimit_memlock", RLIMIT_MEMLOCK);
  session.print_title("MACHINE", "The figures below hold for this machine and these limits.");
  session.print(facts.table());
}

}  // namespace growstack::compare
