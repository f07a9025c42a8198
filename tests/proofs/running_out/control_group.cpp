#include "proofs/running_out/control_group.hpp"

#include "support/scenario.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

namespace growstack::testing {
namespace {

std::string the_reason;

/// Returns the path of this process's group of a controller (version 1), or nothing.
std::optional<std::string> own_group(const std::string& controller) {
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (("," + line.substr(first + 1, second - first - 1) + ",").find("," + controller + ",") !=
        std::string::npos) {
      return line.substr(second + 1);
    }
  }
  return std::nullopt;
}

bool write_file(const std::string& path, const std::string& content) {
  std::ofstream file(path);
  file << content << std::flush;
  return file.good();
}

}  // namespace

const std::string& ControlGroup::why_none() { return the_reason; }

std::optional<ControlGroup> ControlGroup::make(const std::string& controller) {
  const std::string mounted = "/sys/fs/cgroup";
  const std::string name = "/growstack_test_" + std::to_string(getpid());
  if (const auto own = own_group(controller)) {
    const std::string path = mounted + "/" + controller + (*own == "/" ? "" : *own) + name;
    if (mkdir(path.c_str(), 0755) == 0) {
      return ControlGroup(path, true);
    }
  } else if (write_file(mounted + "/cgroup.subtree_control", "+" + controller) &&
             mkdir((mounted + name).c_str(), 0755) == 0) {
    return ControlGroup(mounted + name, false);
  }
  the_reason = "no control group of " + controller +
               " can be made here (that takes root, and a cgroup file system that is writable)";
  return std::nullopt;
}

void ControlGroup::to_environment() const {
  setenv("GROWSTACK_TEST_GROUP", path_.c_str(), 1);
  setenv("GROWSTACK_TEST_GROUP_VERSION", version_1_ ? "1" : "2", 1);
}

ControlGroup ControlGroup::from_environment() {
  return {std::getenv("GROWSTACK_TEST_GROUP"),
          std::string(std::getenv("GROWSTACK_TEST_GROUP_VERSION")) == "1"};
}

void ControlGroup::remove() const {
  // A process that has ended is counted for a moment longer.
  for (int attempt = 0; attempt < 200 && rmdir(path_.c_str()) != 0; ++attempt) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

bool ControlGroup::write(const std::string& file, const std::string& content) const {
  return write_file(path_ + "/" + file, content);
}

std::string ControlGroup::read(const std::string& file) const {
  std::ostringstream content;
  content << std::ifstream(path_ + "/" + file).rdbuf();
  return content.str();
}

void ControlGroup::enter() const {
  require(write("cgroup.procs", std::to_string(getpid())), "the process enters its group");
}

bool ControlGroup::take_thread(int thread) const { return write("tasks", std::to_string(thread)); }

}  // namespace growstack::testing
