#include "fault/fill_missing_pages.hpp"

#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/name_memory.hpp>
#include <growstack/handler/pages.hpp>

#include "anywhere/userfault_calls.hpp"
#include "anywhere/userfault_open.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

namespace growstack::handler {
namespace {

/// What is copied from: mapped readable and never written to, so every page of it is the kernel's
/// page of zeros. Written under the life-cycle lock before the first descriptor is there.
std::atomic<std::uintptr_t> zeros{0};
constexpr std::size_t zeros_size = std::size_t{256} * 1024;

/// True once the monitor has made a page inaccessible. Written by the monitor; read by who fills. A
/// fill that reads a stale value leaves a page inaccessible that was refused at the same moment.
std::atomic<bool> refused_pages{false};

std::size_t fill_once(int userfault, Filling with, std::uintptr_t begin,
                      std::size_t size) noexcept {
  return with == Filling::page_of_zeros
             ? map_page_of_zeros(userfault, begin, size)
             : copy_to_missing(userfault, begin, zeros.load(std::memory_order_relaxed),
                               std::min(size, zeros_size));
}

int fill(int userfault, Filling with, std::uintptr_t begin, std::uintptr_t end) noexcept {
  std::size_t at_once = end - begin;
  for (std::uintptr_t at = begin; at < end;) {
    const std::size_t size = std::min(at_once, end - at);
    const std::size_t filled = fill_once(userfault, with, at, size);
    if (filled != 0) {
      at += filled;
    } else if (errno == ENOENT && size > page_size()) {
      at_once = page_down(size / 2);  // it lies in two mappings
    } else if (errno != EAGAIN) {
      return failed(with == Filling::memory ? SystemCall::uffdio_copy
                                            : SystemCall::uffdio_zeropage);
    }
  }
  return 0;
}

/// Fills by a userfaultfd of its own. The kernel lets any userfaultfd of this memory's owner fill
/// what another one watches.
int fill_by_another(Filling with, std::uintptr_t begin, std::uintptr_t end) noexcept {
  const int userfault = open_userfault(UserfaultKind::signal);
  if (userfault < 0) {
    return EBADF;
  }
  const int error = fill(userfault, with, begin, end);
  close_quietly(userfault);
  return error;
}

}  // namespace

void note_refused_page() noexcept { refused_pages.store(true, std::memory_order_relaxed); }

bool pages_were_refused() noexcept { return refused_pages.load(std::memory_order_relaxed); }

int prepare_filling() noexcept {
  if (zeros.load(std::memory_order_relaxed) == 0) {
    void* const memory = mmap(nullptr, zeros_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
      return failed(SystemCall::mmap);
    }
    name_memory(reinterpret_cast<std::uintptr_t>(memory), zeros_size, records_name);
    zeros.store(reinterpret_cast<std::uintptr_t>(memory), std::memory_order_relaxed);
  }
  return 0;
}

int fill_missing_pages(UserfaultKind kind, Filling with, std::uintptr_t begin,
                       std::uintptr_t end) noexcept {
  if (fork_wiped() == nullptr || userfault_of(kind).number() < 0) {
    return ENOENT;  // in a forked child
  }
  // It is not ours if the program closed it, or if this is a vfork child that closed its copy, or a
  // monitor whose own table has an earlier one. The number may then be a userfaultfd of somebody
  // else's, for another process's memory.
  const int ours = userfault_of(kind).verified();
  const int error = ours >= 0 ? fill(ours, with, begin, end) : fill_by_another(with, begin, end);
  const bool may_be_inaccessible = kind == UserfaultKind::monitor && pages_were_refused();
  if (error != 0 || !may_be_inaccessible) {
    return error;
  }
  void* const memory = reinterpret_cast<void*>(begin);
  return mprotect(memory, end - begin, PROT_READ | PROT_WRITE) == 0 ? 0
                                                                    : failed(SystemCall::mprotect);
}

}  // namespace growstack::handler
