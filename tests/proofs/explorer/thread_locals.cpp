#include "thread_locals.hpp"

#include "execution.hpp"
#include "heap.hpp"

#include <link.h>

#include <algorithm>
#include <array>
#include <utility>

namespace growstack::explorer {
namespace {

/// The thread_local memory of the program itself.
struct Segment {
  const std::byte* image = nullptr;  ///< of what is not zero at first
  std::size_t image_bytes = 0;
  std::byte* memory = nullptr;  ///< of the only thread of the kernel
  std::size_t bytes = 0;
};

const Segment& segment() {
  static const Segment found = [] {
    Segment result;
    // The program comes first.
    dl_iterate_phdr(
        [](dl_phdr_info* program, std::size_t, void* out) {
          for (unsigned index = 0; index < program->dlpi_phnum; ++index) {
            const ElfW(Phdr)& header = program->dlpi_phdr[index];
            if (header.p_type == PT_TLS) {
              *static_cast<Segment*>(out) = {
                  reinterpret_cast<const std::byte*>(program->dlpi_addr + header.p_vaddr),
                  header.p_filesz, static_cast<std::byte*>(program->dlpi_tls_data), header.p_memsz};
            }
          }
          return 1;
        },
        &result);
    return result;
  }();
  return found;
}

struct Ending {
  void (*function)(void*);
  void* object;
};
std::array<std::vector<Ending>, most_threads> endings;

}  // namespace

void ThreadLocals::begin() {
  const Segment& whole = segment();
  bytes_.assign(whole.bytes, std::byte{0});
  std::copy_n(whole.image, whole.image_bytes, bytes_.begin());
}

void ThreadLocals::swap() {
  const Segment& whole = segment();
  other_.assign(whole.memory, whole.memory + whole.bytes);
  std::copy(bytes_.begin(), bytes_.end(), whole.memory);
  bytes_.swap(other_);
}

void end_thread_locals() {
  std::vector<Ending>& mine = endings[current->running()];
  while (!mine.empty()) {
    const Ending last = mine.back();
    mine.pop_back();
    last.function(last.object);
  }
}

void forget_thread_locals() noexcept {
  for (std::vector<Ending>& each : endings) {
    each.clear();
  }
}

}  // namespace growstack::explorer

extern "C" {

int __cxa_thread_atexit_impl(void (*function)(void*), void* object, void* module);

/// What the compiler calls for an object that is thread_local, instead of the one in libstdc++.
int __cxa_thread_atexit(void (*function)(void*), void* object, void* module) noexcept {
  namespace explorer = growstack::explorer;
  if (!explorer::in_model()) {
    return __cxa_thread_atexit_impl(function, object, module);
  }
  const explorer::heap::Ordinary ordinary;
  explorer::endings[explorer::current->running()].push_back({function, object});
  return 0;
}
}
