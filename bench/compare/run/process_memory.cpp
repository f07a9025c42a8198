#include "run/process_memory.hpp"

#include "parts/memory.hpp"

#include <growstack/handler/pages.hpp>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace growstack::compare {

std::size_t status_bytes(const std::string& name) {
  constexpr std::size_t kibibyte = 1024;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) {
      return std::stoull(line.substr(name.size() + 1)) * kibibyte;
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
  const std::size_t each =
      depth +
      2 * handler::page_size();  // and its part of page tables and of what is known about it
  return std::clamp<std::size_t>(allowed_memory() / each, 1, stacks);
}

}  // namespace growstack::compare
