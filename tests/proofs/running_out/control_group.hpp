// A control group of the test's own (cgroups(7), version 1 or 2), where the test may make one.
#pragma once

#include <optional>
#include <string>

namespace growstack::testing {

class ControlGroup {
 public:
  /// Makes a group below that of this process. Nothing if that is not possible: the reason is in
  /// why_none().
  static std::optional<ControlGroup> make(const std::string& controller);
  [[nodiscard]] static const std::string& why_none();

  /// Finds the group whose path environment() put into the environment.
  static ControlGroup from_environment();
  void to_environment() const;

  /// Removes the group. Every process in it must have ended.
  void remove() const;

  [[nodiscard]] bool is_version_1() const { return version_1_; }
  /// Returns whether the file could be written. `content` without a line's end.
  [[nodiscard]] bool write(const std::string& file, const std::string& content) const;
  [[nodiscard]] std::string read(const std::string& file) const;

  /// Moves the calling process here, or one of its threads (version 1 only).
  void enter() const;
  [[nodiscard]] bool take_thread(int thread) const;

 private:
  ControlGroup(std::string path, bool version_1) : path_(std::move(path)), version_1_(version_1) {}

  std::string path_;
  bool version_1_;
};

}  // namespace growstack::testing
