#include "parts/mappings.hpp"

#include "parts/errors.hpp"

#include <growstack/handler/pages.hpp>

#include <sys/mman.h>

#include <cerrno>
#include <fstream>
#include <string>

namespace growstack::bench {
namespace {

using handler::page_size;

/// Returns "60000 mappings: vm.max_map_count is 65530".
std::string beyond_limit(std::size_t count) {
  std::ifstream file("/proc/sys/vm/max_map_count");
  std::string limit;
  std::getline(file, limit);
  return std::to_string(count) + " mappings: vm.max_map_count is " +
         (limit.empty() ? "not known" : limit);
}

}  // namespace

Mappings::Mappings(std::size_t count) : size_(count * page_size()) {
  void* const memory = mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(memory != MAP_FAILED, "mmap");
  begin_ = static_cast<char*>(memory);
  for (std::size_t offset = 0; offset < size_; offset += 2 * page_size()) {
    if (mprotect(begin_ + offset, page_size(), PROT_READ | PROT_WRITE) != 0) {
      const int error = errno;
      munmap(begin_, size_);
      throw_error(beyond_limit(count).c_str(), error);
    }
  }
}

Mappings::~Mappings() { munmap(begin_, size_); }

}  // namespace growstack::bench
