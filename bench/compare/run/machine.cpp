// The machine: what a reader must know before comparing these figures with those of another one.
#include "run/reports.hpp"

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

/// A line of the table, and a row for the JSON file.
struct Fact {
  std::string title;
  std::string metric;
  std::string text;
  std::optional<double> value{};
  std::string unit{};
};

Fact setting(const char* title, const char* metric, const char* path, const char* meaning) {
  const std::string text = first_line_of(path);
  if (text.empty()) {
    return {title, metric, "unknown"};
  }
  const double value = std::stod(text);
  return {title, metric, grouped(value) + meaning, value};
}

Fact limit(const char* title, const char* metric, __rlimit_resource_t resource) {
  rlimit limit{};
  bench::require(getrlimit(resource, &limit) == 0, "getrlimit");
  const auto in_words = [](rlim_t bytes) {
    return bytes == RLIM_INFINITY ? "unlimited" : in_units(bytes);
  };
  const std::string raised = limit.rlim_cur == limit.rlim_max
                                 ? ""
                                 : fmt::format(" (can be raised: {})", in_words(limit.rlim_max));
  const auto value = limit.rlim_cur == RLIM_INFINITY
                         ? std::nullopt
                         : std::optional(static_cast<double>(limit.rlim_cur));
  return {title, metric, in_words(limit.rlim_cur) + raised, value, "bytes"};
}

}  // namespace

void report_machine(Session& session) {
  constexpr double gibibyte = 1024.0 * mebibyte;
  const auto processors = static_cast<double>(sysconf(_SC_NPROCESSORS_ONLN));
  const auto page_size = static_cast<double>(handler::page_size());
  const auto memory = static_cast<double>(bench::meminfo_bytes("MemTotal"));
  const auto available = static_cast<double>(bench::meminfo_bytes("MemAvailable"));
  const std::vector<Fact> facts{
      {"kernel", "kernel", kernel()},
      {"processor", "processor", processor()},
      {"processors", "processors",
       fmt::format("{} online, {} for this process", processors, usable_processors()), processors},
      {"memory", "memory",
       fmt::format("{:.1f} GiB, {:.1f} available", memory / gibibyte, available / gibibyte), memory,
       "bytes"},
      {"page size", "page_size", in_units(handler::page_size()), page_size, "bytes"},
      {"huge pages", "huge_pages", bench::huge_pages()},
      setting("vm.max_map_count", "max_map_count", "/proc/sys/vm/max_map_count",
              " mappings in one process"),
      setting("vm.overcommit_memory", "overcommit_memory", "/proc/sys/vm/overcommit_memory", ""),
      limit("RLIMIT_STACK", "rlimit_stack", RLIMIT_STACK),
      limit("RLIMIT_AS", "rlimit_as", RLIMIT_AS),
      limit("RLIMIT_DATA", "rlimit_data", RLIMIT_DATA),
      limit("RLIMIT_MEMLOCK", "rlimit_memlock", RLIMIT_MEMLOCK)};
  Table table({"of this process", "value"}, 2);
  for (const Fact& fact : facts) {
    table.add({fact.title, fact.text});
    session.add({.subject = "machine",
                 .metric = fact.metric,
                 .value = fact.value,
                 .unit = fact.unit,
                 .note = fact.text});
  }
  session.print_title("MACHINE", "The figures below hold for this machine and these limits.");
  session.print(table);
}

}  // namespace growstack::compare
