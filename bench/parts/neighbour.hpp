// A program that lies in the same folder as this one: measurements that cannot be linked into the
// same executable.
//
// It is started with one argument, a request in JSON, and writes {"result": ...} or {"failure":
// "..."} to standard output.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace growstack::bench {

[[nodiscard]] bool has_neighbour(const std::string& name);

/// Goes on as that program. Returns only by std::system_error: when it cannot be started.
[[noreturn]] void become_neighbour(const std::string& name, const nlohmann::json& request);

/// What such a program's main() is: answers the request of its argument.
[[nodiscard]] int serve_as_neighbour(int argc, char** argv,
                                     nlohmann::json (*answer)(const nlohmann::json& request));

}  // namespace growstack::bench
