#include "memory/vm.hpp"

#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/name_memory.hpp>
#include <growstack/handler/without_cancellation.hpp>

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <memory>

namespace growstack::vm {

using handler::failed;
using handler::SystemCall;

namespace {

void* pointer(std::uintptr_t address) noexcept { return reinterpret_cast<void*>(address); }

/// Advises the kernel about huge pages. New kernels take MAP_STACK for "no huge pages"; this advice
/// says what we want on all kernels. Without it the old and the new pieces of a stack would be two
/// kinds of mapping, which the kernel cannot join. EINVAL means a kernel without huge pages.
int advise(std::uintptr_t begin, std::size_t size, Pages pages) noexcept {
  const int advice = pages == Pages::small ? MADV_NOHUGEPAGE : MADV_HUGEPAGE;
  return madvise(pointer(begin), size, advice) == 0 || errno == EINVAL
             ? 0
             : failed(SystemCall::madvise);
}

int map_fresh(std::uintptr_t begin, std::size_t size, int flags) noexcept {
  void* const mapped = mmap(pointer(begin), size, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_FIXED | flags, -1, 0);
  return mapped == MAP_FAILED ? failed(SystemCall::mmap) : 0;
}

/// Makes fresh memory like its neighbours. It has no name, and they have one, which survives every
/// commit. The kernel joins only mappings of the same name.
int liken(std::uintptr_t begin, std::size_t size, Pages pages) noexcept {
  const int error = advise(begin, size, pages);
  handler::name_memory(begin, size, handler::stacks_name);
  return error;
}

int map_fixed(std::uintptr_t begin, std::size_t size, int flags, Pages pages) noexcept {
  if (size == 0) {
    return 0;
  }
  const int error = map_fresh(begin, size, flags);
  return error == 0 ? liken(begin, size, pages) : error;
}

int take_away(std::uintptr_t begin, std::size_t size, int error) noexcept {
  return mprotect(pointer(begin), size, PROT_NONE) == 0 && discard(begin, size) == 0 ? 0 : error;
}

/// Unlocks memory that mlockall(MCL_FUTURE) may have locked. Few programs call that, so a filter
/// that refuses munlock(2) does no harm to the others.
int unlock(std::uintptr_t begin, std::size_t size) noexcept {
  const bool is_refused = munlock(pointer(begin), size) != 0;
  return is_refused && errno != EPERM && errno != ENOSYS ? failed(SystemCall::munlock) : 0;
}

}  // namespace

int reserve(std::size_t size, std::size_t alignment, Pages pages, std::uintptr_t& begin) noexcept {
  const std::size_t slack = alignment - page_size();
  if (size > SIZE_MAX - slack) {
    return ENOMEM;
  }
  void* const mapped =
      mmap(nullptr, size + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (mapped == MAP_FAILED) {
    return failed(SystemCall::mmap);
  }
  // What is still ours: never unmapped twice, because another thread may have memory there by then.
  auto first = reinterpret_cast<std::uintptr_t>(mapped);
  std::uintptr_t end = first + size + slack;
  const std::uintptr_t aligned = (first + alignment - 1) & ~(alignment - 1);
  int error = release(first, aligned - first);
  if (error == 0) {
    first = aligned;
    error = release(aligned + size, end - (aligned + size));
  }
  if (error == 0) {
    end = aligned + size;
    error = advise(aligned, size, pages);
  }
  if (error != 0) {
    static_cast<void>(release(first, end - first));
    return error;
  }
  handler::name_memory(aligned, size, handler::stacks_name);
  begin = aligned;
  return 0;
}

int commit(std::uintptr_t begin, std::size_t size) noexcept {
  return mprotect(pointer(begin), size, PROT_READ | PROT_WRITE) == 0 ? 0
                                                                     : failed(SystemCall::mprotect);
}

int let_read(std::uintptr_t begin, std::size_t size) noexcept {
  return size == 0 || mprotect(pointer(begin), size, PROT_READ) == 0 ? 0
                                                                     : failed(SystemCall::mprotect);
}

int decommit(std::uintptr_t begin, std::size_t size, Pages pages) noexcept {
  const int error = map_fixed(begin, size, 0, pages);
  return error == 0 ? 0 : take_away(begin, size, error);
}

int decommit_alone(std::uintptr_t begin, std::size_t size) noexcept {
  const int error = map_fresh(begin, size, 0);
  return error == 0 ? 0 : take_away(begin, size, error);
}

int commit_anew(std::uintptr_t begin, std::size_t size, Pages pages) noexcept {
  int error = commit(begin, size);
  if (error == 0) {
    error = liken(begin, size, pages);
    if (error != 0) {
      static_cast<void>(decommit(begin, size, pages));
    }
  }
  return error;
}

int reserve_uncharged(std::uintptr_t begin, std::size_t size, Pages pages) noexcept {
  const int error = map_fixed(begin, size, MAP_NORESERVE, pages);
  return error == 0 ? unlock(begin, size) : error;
}

int commit_uncharged(std::uintptr_t begin, std::size_t size, Pages pages) noexcept {
  // In two steps, because the kernel does not ask RLIMIT_DATA about a writable mapping that takes
  // the place of another one (mmap_region in mm/vma.c counts what it replaces as if it were data).
  // Once the process is over that limit, every malloc of the program fails.
  const int error = reserve_uncharged(begin, size, pages);
  return error == 0 ? commit(begin, size) : error;
}

int release(std::uintptr_t begin, std::size_t size) noexcept {
  return size == 0 || munmap(pointer(begin), size) == 0 ? 0 : failed(SystemCall::munmap);
}

void release_or_uncharge(std::uintptr_t begin, std::size_t size) noexcept {
  if (release(begin, size) != 0) {
    static_cast<void>(map_fresh(begin, size, MAP_NORESERVE));
  }
}

int set_apart(std::uintptr_t begin, std::size_t size) noexcept {
  return madvise(pointer(begin), size, MADV_RANDOM) == 0 ? 0 : failed(SystemCall::madvise);
}

int leave_out_of_core(std::uintptr_t begin, std::size_t size) noexcept {
  return madvise(pointer(begin), size, MADV_DONTDUMP) == 0 ? 0 : failed(SystemCall::madvise);
}

int discard(std::uintptr_t begin, std::size_t size) noexcept {
  // MADV_DONTNEED_LOCKED, Linux 5.18. MADV_DONTNEED is refused on locked memory.
  constexpr int dontneed_locked = 24;
  return size == 0 || madvise(pointer(begin), size, MADV_DONTNEED) == 0 ||
                 (errno == EINVAL && madvise(pointer(begin), size, dontneed_locked) == 0)
             ? 0
             : failed(SystemCall::madvise);
}

int want_huge_pages(std::uintptr_t begin, std::size_t size) noexcept {
  return advise(begin, size, Pages::huge_too);
}

int lock(std::uintptr_t begin, std::size_t size, bool on_fault) noexcept {
  return mlock2(pointer(begin), size, on_fault ? MLOCK_ONFAULT : 0U) == 0
             ? 0
             : failed(SystemCall::mlock2);
}

namespace {

// MADV_GUARD_INSTALL and MADV_GUARD_REMOVE, which the headers of Debian 12 lack.
constexpr int guard_install = 102;
constexpr int guard_remove = 103;

}  // namespace

int install_markers(std::uintptr_t begin, std::size_t size) noexcept {
  if (size == 0 || madvise(pointer(begin), size, guard_install) == 0) {
    return 0;
  }
  const bool may_be_locked = errno == EINVAL && munlock(pointer(begin), size) == 0;
  return may_be_locked && madvise(pointer(begin), size, guard_install) == 0
             ? 0
             : failed(SystemCall::madvise);
}

int MarkerList::install(std::uintptr_t begin, std::size_t size) noexcept {
  if (size == 0) {
    return 0;
  }
  const int error = count_ == ranges_.size() ? finish() : 0;
  ranges_[count_++] = {.iov_base = pointer(begin), .iov_len = size};
  return error;
}

int MarkerList::finish() noexcept {
  std::size_t bytes = 0;
  for (std::size_t index = 0; index < count_; ++index) {
    bytes += ranges_[index].iov_len;
  }
  constexpr int pidfd_self = -10001;
  const long done =
      syscall(SYS_process_madvise, pidfd_self, ranges_.data(), count_, guard_install, 0U);
  int error = 0;
  if (done < 0 || static_cast<std::size_t>(done) != bytes) {
    for (std::size_t index = 0; error == 0 && index < count_; ++index) {
      error = install_markers(reinterpret_cast<std::uintptr_t>(ranges_[index].iov_base),
                              ranges_[index].iov_len);
    }
  }
  count_ = 0;
  return error;
}

int remove_markers(std::uintptr_t begin, std::size_t size) noexcept {
  return size == 0 || madvise(pointer(begin), size, guard_remove) == 0
             ? 0
             : failed(SystemCall::madvise);
}

std::uintptr_t mapping_start(std::uintptr_t address) noexcept {
  const handler::WithoutCancellation without_cancellation;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> maps(std::fopen("/proc/self/maps", "re"),
                                                             &std::fclose);
  if (maps == nullptr) {
    return 0;
  }
  // A line may be of any length: a path has 4,096 bytes or more, and each newline in it is shown as
  // four. What follows in such a line is a name, which somebody else chose.
  std::array<char, 4352> piece;
  for (bool begins_line = true; std::fgets(piece.data(), piece.size(), maps.get()) != nullptr;
       begins_line = std::strchr(piece.data(), '\n') != nullptr) {
    std::uintptr_t start = 0;
    std::uintptr_t end = 0;
    if (begins_line && std::sscanf(piece.data(), "%" SCNxPTR "-%" SCNxPTR, &start, &end) == 2 &&
        start <= address && address < end) {
      return start;
    }
  }
  if (std::feof(maps.get()) != 0) {
    errno = ENOENT;
  }
  return 0;
}

std::uintptr_t lowest_of_growing(std::uintptr_t begin, std::uintptr_t end) noexcept {
  std::uintptr_t lowest = end;
  // With PROT_GROWSDOWN, mprotect(2) goes down to the start of such a mapping, and fails with
  // EINVAL for a page of any other one, and with ENOMEM where nothing is mapped.
  while (lowest - begin >= page_size() && mprotect(pointer(lowest - page_size()), page_size(),
                                                   PROT_READ | PROT_WRITE | PROT_GROWSDOWN) == 0) {
    lowest -= page_size();
  }
  return lowest;
}

}  // namespace growstack::vm
