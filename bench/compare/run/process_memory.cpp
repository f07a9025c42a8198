#include "run/process_memory.hpp"

#include "parts/memory.hpp"

#include <growstack/handler/pages.hpp>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace growstack::compare {
namespace {

/// Returns the bytes of a line "Name:  123 kB".
std::uint64_t bytes_in(const std::string& line) {
  return std::stoull(line.substr(line.find(':') + 1)) * 1024;
}

}  // namespace

std::size_t status_bytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) {
      return bytes_in(line);
    }
  }
  throw std::runtime_error("no " + name + " in /proc/self/status");
}

std::size_t resident_with_tables() { return status_bytes("VmRSS") + status_bytes("VmPTE"); }

std::size_t mapping_count() {
  std::ifstream maps("/proc/self/maps");
  return static_cast<std::size_t>(std::count(std::istreambuf_iterator<char>(maps), {}, '\n'));
}

std::size_t allowed_memory() { return bench::meminfo_bytes("MemAvailable") / 2; }

std::size_t affordable(std::size_t stacks, std::size_t depth) {
  // A stack also has its part of page tables and of what is known about it.
  const std::size_t each = depth + 2 * handler::page_size();
  return std::clamp<std::size_t>(allowed_memory() / each, 1, stacks);
}

Residency residency(std::uintptr_t begin, std::uintptr_t end) {
  std::ifstream smaps("/proc/self/smaps");
  if (!smaps) {
    throw std::runtime_error("cannot read /proc/self/smaps");
  }
  Residency sum;
  std::uint64_t overlap = 0;  // of the range and the mapping that the lines are about
  for (std::string line; std::getline(smaps, line);) {
    std::uintptr_t first = 0;
    std::uintptr_t last = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &first, &last) == 2) {
      overlap = first < end && begin < last ? std::min(last, end) - std::max(first, begin) : 0;
      sum.mapped += overlap;
    } else if (overlap == 0) {
      continue;
    } else if (line.starts_with("Rss:")) {
      sum.resident += bytes_in(line);
    } else if (line.starts_with("Private_Dirty:") || line.starts_with("Shared_Dirty:")) {
      sum.dirty += bytes_in(line);
    } else if (line.starts_with("VmFlags:") && (line + " ").find(" ac ") != std::string::npos) {
      sum.charged += overlap;
    }
  }
  return sum;
}

}  // namespace growstack::compare
