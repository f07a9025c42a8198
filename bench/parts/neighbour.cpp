#include "parts/neighbour.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <system_error>

namespace growstack::bench {
namespace {

std::filesystem::path path_of(const std::string& name) {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
}

nlohmann::json answered(const char* request,
                        nlohmann::json (*answer)(const nlohmann::json& request)) {
  try {
    return {{"result", answer(nlohmann::json::parse(request))}};
  } catch (const std::exception& error) {
    return {{"failure", error.what()}};
  }
}

}  // namespace

bool has_neighbour(const std::string& name) { return access(path_of(name).c_str(), X_OK) == 0; }

void become_neighbour(const std::string& name, const nlohmann::json& request) {
  const std::string text = request.dump();
  execl(path_of(name).c_str(), name.c_str(), text.c_str(), nullptr);
  throw std::system_error(errno, std::generic_category(), name);
}

int serve_as_neighbour(int argc, char** argv,
                       nlohmann::json (*answer)(const nlohmann::json& request)) {
  if (argc != 2) {
    std::fprintf(stderr, "%s: run by growstack_compare, with a request in JSON\n", argv[0]);
    return EXIT_FAILURE;
  }
  const std::string text = answered(argv[1], answer).dump();
  const bool written =
      std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  return written ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace growstack::bench
