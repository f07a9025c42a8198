#include "interleavings/thread_memory.hpp"

#include <immintrin.h>
#include <link.h>

#include <atomic>
#include <cstring>

namespace growstack::interleavings {
namespace {

/// The thread-local variables of this program: where the calling thread has them, and what they
/// begin with.
struct Variables {
  std::byte* here = nullptr;
  const std::byte* first_values = nullptr;
  std::size_t with_value = 0;
  std::size_t size = 0;
};

Variables variables_here() {
  Variables found;
  dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void* result) {
        for (int index = 0; index < object->dlpi_phnum; ++index) {
          const ElfW(Phdr)& part = object->dlpi_phdr[index];
          if (part.p_type == PT_TLS) {
            *static_cast<Variables*>(result) = {
                .here = static_cast<std::byte*>(object->dlpi_tls_data),
                .first_values =
                    reinterpret_cast<const std::byte*>(object->dlpi_addr + part.p_vaddr),
                .with_value = part.p_filesz,
                .size = part.p_memsz};
          }
        }
        return 1;  // the program itself comes first
      },
      &found);
  return found;
}

}  // namespace

ThreadMemory::ThreadMemory() {
  std::atomic<bool> is_ready{false};
  std::thread([&] {
    base_ = _readfsbase_u64();
    variables_ = variables_here().here;
    is_ready.store(true);
    is_ready.notify_one();
    for (;;) {
      pause();
    }
  }).detach();
  is_ready.wait(false);
}

void ThreadMemory::reset() const noexcept {
  static const Variables all = variables_here();
  if (all.size != 0) {
    std::memcpy(variables_, all.first_values, all.with_value);
    std::memset(variables_ + all.with_value, 0, all.size - all.with_value);
  }
}

std::uintptr_t ThreadMemory::use() const noexcept {
  const std::uintptr_t before = _readfsbase_u64();
  _writefsbase_u64(base_);
  return before;
}

void ThreadMemory::use_again(std::uintptr_t base) noexcept { _writefsbase_u64(base); }

}  // namespace growstack::interleavings
