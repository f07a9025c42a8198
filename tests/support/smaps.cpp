#include "support/smaps.hpp"

#include "support/address_of.hpp"
#include "support/units.hpp"

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

namespace growstack::testing {
namespace {

std::size_t entries_of(const char* folder) {
  const std::filesystem::directory_iterator entries(folder);
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

}  // namespace

bool Mapping::has_flag(std::string_view two_letters) const noexcept {
  for (std::size_t at = 0; at + 2 <= flags.size(); at += 3) {
    if (std::string_view(flags).substr(at, 2) == two_letters) {
      return true;
    }
  }
  return false;
}

std::vector<Mapping> mappings() {
  std::ifstream smaps("/proc/self/smaps");
  std::vector<Mapping> all;
  for (std::string line; std::getline(smaps, line);) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    char protection[5] = "";
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %4s", &begin, &end, protection) == 3) {
      all.push_back({.begin = begin, .end = end, .protection = protection, .flags = {}});
    } else if (line.starts_with("Rss:")) {
      all.back().resident = std::stoull(line.substr(4)) * KiB;
    } else if (line.starts_with("AnonHugePages:")) {
      all.back().in_huge_pages = std::stoull(line.substr(14)) * KiB;
    } else if (line.starts_with("VmFlags: ")) {
      all.back().flags = line.substr(9);
    }
  }
  if (all.empty()) {
    throw std::runtime_error("/proc/self/smaps cannot be read");
  }
  return all;
}

std::vector<Mapping> mappings_in(const void* begin, const void* end) {
  std::vector<Mapping> found;
  for (Mapping& each : mappings()) {
    if (each.end > address_of(begin) && each.begin < address_of(end)) {
      each.begin = std::max(each.begin, address_of(begin));
      each.end = std::min(each.end, address_of(end));
      found.push_back(std::move(each));
    }
  }
  return found;
}

std::size_t mapped_bytes(const void* begin, const void* end) {
  std::size_t bytes = 0;
  for (const Mapping& each : mappings_in(begin, end)) {
    bytes += each.size();
  }
  return bytes;
}

std::size_t charged_bytes(const void* begin, const void* end) {
  std::size_t bytes = 0;
  for (const Mapping& each : mappings_in(begin, end)) {
    bytes += each.has_flag("ac") ? each.size() : 0;
  }
  return bytes;
}

std::size_t charged_bytes() {
  return charged_bytes(nullptr, reinterpret_cast<const void*>(UINTPTR_MAX));
}

std::size_t mapping_count() {
  std::ifstream maps("/proc/self/maps");
  return static_cast<std::size_t>(std::count(std::istreambuf_iterator<char>(maps), {}, '\n'));
}

std::size_t descriptor_count() { return entries_of("/proc/self/fd"); }
std::size_t thread_count() { return entries_of("/proc/self/task"); }

bool threads_come_down_to(std::size_t most) {
  for (int milliseconds = 0; thread_count() > most && milliseconds < 10'000; ++milliseconds) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return thread_count() <= most;
}

namespace {

/// Returns the number in a line "Name:   123 kB" of a file, in bytes.
std::size_t bytes_in(const char* path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name) && line[name.size()] == ':') {
      return std::stoull(line.substr(name.size() + 1)) * KiB;
    }
  }
  throw std::runtime_error(std::string(path) + " has no line " + std::string(name));
}

}  // namespace

std::size_t status_bytes(std::string_view name) { return bytes_in("/proc/self/status", name); }

std::size_t available_memory() { return bytes_in("/proc/meminfo", "MemAvailable"); }

std::size_t number_in(const char* path) {
  std::ifstream file(path);
  std::size_t number = 0;
  file >> number;
  return number;
}

}  // namespace growstack::testing
