// A core dump of a scenario: whether the kernel writes one, and where it lands.
#pragma once

#include "support/limits.hpp"
#include "support/sanitized.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace growstack::testing {

/// Lets a scenario that is going to crash leave a core of any size in a folder.
inline void allow_cores_in(const char* folder) {
  raise_soft_limit(RLIMIT_CORE);
  if (chdir(folder) != 0) {
    std::exit(100);
  }
}

/// A folder that exists as long as this does.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "growstack-core-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  /// Returns the files in it.
  [[nodiscard]] std::vector<std::filesystem::path> files() const {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      found.push_back(entry.path());
    }
    return found;
  }

 private:
  std::filesystem::path path_;
};

/// Returns why no core can be had here. Empty if one can.
inline std::string no_core_because() {
  std::string pattern;
  std::ifstream("/proc/sys/kernel/core_pattern") >> pattern;
  if (pattern.empty() || pattern.find_first_of("|/%") != std::string::npos) {
    return "kernel.core_pattern is \"" + pattern + "\": cores do not land in the current folder";
  }
  if (limits_of(RLIMIT_CORE).rlim_max != RLIM_INFINITY) {
    return "the hard RLIMIT_CORE forbids cores of any size";
  }
  return sanitized ? "sanitizers turn cores off: their shadow memory has terabytes" : "";
}

}  // namespace growstack::testing
