#include "proofs/soak/disturbers/descriptors.hpp"

#include "proofs/soak/counts.hpp"
#include "proofs/soak/last_words.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <string_view>

namespace growstack::soak {
namespace {

std::vector<int> open_descriptors() {
  std::vector<int> found;
  DIR* const directory = opendir("/proc/self/fd");
  if (directory == nullptr) {
    return found;
  }
  while (const dirent* const entry = readdir(directory)) {
    const int number = static_cast<int>(std::strtol(entry->d_name, nullptr, 10));
    if (entry->d_name[0] != '.' && number != dirfd(directory)) {
      found.push_back(number);
    }
  }
  closedir(directory);
  return found;
}

constexpr std::string_view content = "this file belongs to the program";

/// Opens a file at this number whose content is known.
void open_at(int number) {
  const int file = memfd_create("the program's own", MFD_CLOEXEC);
  if (file < 0 || write(file, content.data(), content.size()) < 0) {
    wrong("memfd_create");
  }
  if (file != number) {
    dup2(file, number);
    close(file);
  }
}

}  // namespace

Descriptors::Descriptors() : own_(open_descriptors()) {}

std::vector<int> Descriptors::others() const {
  std::vector<int> found = open_descriptors();
  std::erase_if(found, [&](int number) {
    const auto is = [&](const std::vector<int>& in) {
      return std::find(in.begin(), in.end(), number) != in.end();
    };
    return is(own_) || is(reopened_);
  });
  return found;
}

void Descriptors::close_and_reopen(Random& random) {
  verify_and_forget();
  for (const int number : others()) {
    close(number);
    counts.descriptors_closed.fetch_add(1, std::memory_order_relaxed);
    if (random.one_in(2)) {
      open_at(number);
      reopened_.push_back(number);
      counts.descriptors_reopened.fetch_add(1, std::memory_order_relaxed);
    }
  }
}

void Descriptors::close_the_pipe() {
  std::map<ino_t, std::vector<int>> ends;
  for (const int number : others()) {
    struct stat state {};
    if (fstat(number, &state) == 0 && S_ISFIFO(state.st_mode)) {
      ends[state.st_ino].push_back(number);
    }
  }
  for (const auto& [pipe, numbers] : ends) {
    // While it is being made, both ends are open here.
    if (numbers.size() == 1 && seen_.contains(pipe)) {
      close(numbers.front());
      counts.pipes_closed.fetch_add(1, std::memory_order_relaxed);
    }
  }
  seen_.clear();
  for (const auto& [pipe, numbers] : ends) {
    seen_.insert(pipe);
  }
}

void Descriptors::verify_and_forget() {
  for (const int number : reopened_) {
    std::array<char, 2 * content.size()> text{};
    const ssize_t bytes = pread(number, text.data(), text.size(), 0);
    if (bytes != static_cast<ssize_t>(content.size()) ||
        std::string_view(text.data(), content.size()) != content ||
        lseek(number, 0, SEEK_CUR) != static_cast<off_t>(content.size())) {
      wrong("somebody used descriptor %d, which belongs to the program", number);
    }
    close(number);
  }
  reopened_.clear();
}

void Descriptors::expect_none_is_left() const {
  if (const std::vector<int> left = others(); !left.empty()) {
    wrong("%zu descriptors are left open; the first is %d", left.size(), left.front());
  }
}

}  // namespace growstack::soak
