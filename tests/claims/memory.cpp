// Reserving, committing, giving back: address space, physical memory, and what the kernel counts
// when.
//
// The addresses that a program may use, and the memory behind them, are two things. mmap(2) gives
// addresses: the kernel writes down a mapping (from, to, permissions), no more. At the first touch
// of a page the CPU finds nothing there and calls the kernel (a *page fault*), which takes a page
// of physical memory, fills it with zeros, and enters it in the *page table*, where the CPU looks
// addresses up; the program notices nothing. A fault that needs no disk is a *minor* fault. A third
// thing is the *charge*: memory that may be written is counted as promised when it is mapped, long
// before it is there.
//
// So each test here asks for one of these numbers before and after: how much is mapped, how much is
// resident, how many faults it took, what the page tables take, what is charged.
#include "claims/claim.hpp"
#include "claims/look.hpp"
#include "support/descend.hpp"
#include "support/forked.hpp"

#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>

using namespace growstack::testing;

namespace {

/// Has this process use small pages only as long as this lives. Where huge pages are switched on
/// for everybody, one touch may otherwise fill 2 MiB.
class SinglePages {
 public:
  SinglePages() { prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); }
  ~SinglePages() { prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0); }
  SinglePages(const SinglePages&) = delete;
  SinglePages& operator=(const SinglePages&) = delete;
};

/// Maps memory with a page without permissions on either side. The kernel makes one mapping of
/// neighbours that are alike, and here nothing else becomes part of the mapping.
char* lone_memory(std::size_t size) {
  char* const with_neighbours = map_memory(page_bytes() + size + page_bytes());
  mprotect(with_neighbours, page_bytes(), PROT_NONE);
  mprotect(with_neighbours + page_bytes() + size, page_bytes(), PROT_NONE);
  return with_neighbours + page_bytes();
}

char* begin_of_page(void* address) {
  const auto number = reinterpret_cast<std::uintptr_t>(address);
  return reinterpret_cast<char*>(number - number % page_bytes());
}

bool is_zero(const char* begin, std::size_t size) {
  return std::all_of(begin, begin + size, [](char byte) { return byte == 0; });
}

/// Writes one byte in a child. Returns how the child ends: killed_by(SIGSEGV) where the write is
/// forbidden, otherwise 0.
int end_of_write_to(char* address) {
  return end_of_child([&] {
    no_core();
    *static_cast<volatile char*>(address) = 1;
    return 0;
  });
}

}  // namespace

// ---- reserving ----------------------------------------------------------------------------------

CLAIM(19, "L, S",
      "malloc, new and mmap give address space; "
      "physical pages come at first touch. A new char[10 MiB] costs nothing.",
      "malloc, new and mmap give address space and pages come "
      "at the first touch, but all of it is charged at once") {
  constexpr std::size_t size = 10 * MiB;
  const SinglePages single_pages;
  // From this size on malloc maps new memory for each request, and new calls malloc. It is the
  // default, but it is set here because malloc raises it when such memory is freed.
  mallopt(M_MMAP_THRESHOLD, 128 * KiB);
  const std::size_t charged_before = charged_bytes();
  const std::size_t data_before = status_bytes("VmData");
  char* const from_mmap = map_memory(size);
  char* const from_malloc = static_cast<char*>(std::malloc(size));
  char* const from_new = new char[size];
  const std::size_t charged = charged_bytes() - charged_before;
  const std::size_t data = status_bytes("VmData") - data_before;

  // malloc writes a word of its own, the size, in front of what it returns: one page.
  const std::size_t resident_of_mmap = resident_bytes(from_mmap, size);
  const std::size_t resident_of_malloc = resident_bytes(begin_of_page(from_malloc), size);
  const std::size_t resident_of_new = resident_bytes(begin_of_page(from_new), size);
  CHECK(resident_of_mmap == 0);
  CHECK(resident_of_malloc == page_bytes());
  CHECK(resident_of_new == page_bytes());
  for (char* const memory : {from_mmap, from_malloc, from_new}) {
    char* const begin = begin_of_page(memory);
    const std::size_t resident = resident_bytes(begin, size);
    memory[3 * MiB] = 1;
    memory[5 * MiB] = 1;
    memory[5 * MiB + 1] = 1;  // the same page once more
    CHECK(resident_bytes(begin, size) == resident + 2 * page_bytes());
  }

  // The memory costs a promise at once, whether anybody touches it or not. The kernel charges it:
  // with vm.overcommit_memory = 2 there is a bound for all processes together (CommitLimit in
  // /proc/meminfo). And it counts as data of this process (VmData), which RLIMIT_DATA bounds.
  CHECK(charged >= 3 * size);
  CHECK(data >= 3 * size);

  // There are two ways to touch all of it without noticing. Parentheses ask for zeros, which new
  // writes although they are there already.
  char* const zeros = new char[size]();
  const std::size_t resident_of_zeros = resident_bytes(begin_of_page(zeros), size);
  CHECK(resident_of_zeros == size);
  // And memory that was used and freed before comes from malloc's own stock. It was touched long
  // ago.
  constexpr std::size_t small = 64 * KiB;
  void* const used = std::malloc(small);
  touch_each_page(used, small);
  std::free(used);
  void* const again = std::malloc(small);
  CHECK(resident_bytes(begin_of_page(again), small) == small);

  found(Verdict::holds,
        "of {} KiB resident: mmap {}, malloc {}, new {}, "
        "new with () {}; the first three are charged {}",
        size / KiB, resident_of_mmap / KiB, resident_of_malloc / KiB, resident_of_new / KiB,
        resident_of_zeros / KiB, charged / KiB);
  std::free(again);
  delete[] zeros;
  delete[] from_new;
  std::free(from_malloc);
  munmap(from_mmap, size);
}

namespace {

/// Returns how many bytes one page of page tables describes: it has an entry of 8 bytes for each
/// page. 2 MiB on x86-64.
std::size_t bytes_of_one_page_table() {
  return page_bytes() / sizeof(std::uint64_t) * page_bytes();
}

struct Cost {
  std::size_t memory;
  std::size_t page_tables;
};

/// Returns the cost of stacks that are reserved one below the other, and use their uppermost 500
/// bytes.
Cost cost_of_stacks(std::size_t count, std::size_t stack_bytes) {
  // It begins where a page table begins. Otherwise a stack might share one with something else.
  const std::size_t alignment = bytes_of_one_page_table();
  const std::size_t size = count * stack_bytes;
  void* begin = map_memory(size + alignment, MAP_NORESERVE);
  std::size_t space = size + alignment;
  std::align(alignment, size, begin, space);
  const std::size_t page_tables = page_table_bytes();
  for (std::size_t used = 1; used <= count; ++used) {
    std::memset(static_cast<char*>(begin) + used * stack_bytes - 500, 1, 500);
  }
  return {.memory = resident_bytes(begin, size), .page_tables = page_table_bytes() - page_tables};
}

}  // namespace

CLAIM(20, "S", "A lazily mapped stack of 8 MiB that uses 500 bytes costs one page.",
      "a lazily mapped stack of 8 MiB that uses 500 "
      "bytes costs one page, and one more of page tables") {
  constexpr std::size_t count = 32;
  const SinglePages single_pages;
  // An empty part of the address space has no page tables. They come with the first page. A stack
  // of 8 MiB is far from the next one, so its one page needs a page table that serves nobody else.
  // RSS does not show it, but VmPTE in /proc/self/status does. Small stacks that are close together
  // share page tables.
  const Cost large = cost_of_stacks(count, 8 * MiB);
  const Cost small = cost_of_stacks(count, 64 * KiB);
  const auto page_tables_for = [](std::size_t stack_bytes) {
    return std::max(std::size_t{1},
                    count * stack_bytes / std::max(stack_bytes, bytes_of_one_page_table())) *
           page_bytes();
  };
  // Page tables form a tree. There may be another page higher up in it for every GiB, and for every
  // 512 GiB.
  const std::size_t higher_up = 4 * page_bytes();
  CHECK(large.memory == count * page_bytes());
  CHECK(large.page_tables >= page_tables_for(8 * MiB));
  CHECK(large.page_tables <= page_tables_for(8 * MiB) + higher_up);
  CHECK(small.memory == count * page_bytes());
  CHECK(small.page_tables >= page_tables_for(64 * KiB));
  CHECK(small.page_tables <= page_tables_for(64 * KiB) + higher_up);
  found(Verdict::holds,
        "each of {} stacks of 8 MiB: {} KiB and {:.2f} KiB "
        "of page tables; of 64 KiB: {} KiB and {:.2f} KiB",
        count, large.memory / count / KiB, static_cast<double>(large.page_tables) / count / KiB,
        small.memory / count / KiB, static_cast<double>(small.page_tables) / count / KiB);
}

CLAIM(21, "S", "A guard page costs no physical memory.",
      "a guard page costs no physical memory, but a mapping for itself, "
      "or as a marker its place in a page table") {
  constexpr std::size_t count = 1000;
  constexpr std::size_t stack_bytes = 64 * KiB;
  constexpr std::size_t size = count * stack_bytes;
  const auto mappings_of = [](char* stacks) { return mappings_in(stacks, stacks + size).size(); };

  // The usual guard is a page without permissions. Permissions belong to a mapping, so each guard
  // is one, and what lies between two guards is another. A process may have vm.max_map_count of
  // them.
  char* const stacks = lone_memory(size);
  CHECK(mappings_of(stacks) == 1);
  std::size_t page_tables = page_table_bytes();
  for (std::size_t index = 0; index < count; ++index) {
    REQUIRE(mprotect(stacks + index * stack_bytes, page_bytes(), PROT_NONE) == 0);
  }
  const std::size_t for_guards = page_table_bytes() - page_tables;
  CHECK(resident_bytes(stacks, size) == 0);
  CHECK(for_guards == 0);
  CHECK(mappings_of(stacks) == 2 * count);
  CHECK(end_of_write_to(stacks + stack_bytes) == killed_by(SIGSEGV));
  CHECK(end_of_write_to(stacks + stack_bytes + page_bytes()) == 0);
  munmap(stacks, size);

  // Linux 6.13 has guard markers: an entry in the page table says that a touch is SIGSEGV. The
  // mapping stays whole. If there was no page table yet, there is one now.
  constexpr int madv_guard_install = 102;  // newer than many headers
  char* const marked = lone_memory(size);
  page_tables = page_table_bytes();
  std::size_t markers = 0;
  while (markers < count &&
         madvise(marked + markers * stack_bytes, page_bytes(), madv_guard_install) == 0) {
    ++markers;
  }
  const std::size_t for_markers = page_table_bytes() - page_tables;
  if (markers > 0) {
    CHECK(markers == count);
    CHECK(resident_bytes(marked, size) == 0);
    CHECK(mappings_of(marked) == 1);
    // At either end there may have been one before.
    CHECK(for_markers >= (size / bytes_of_one_page_table() - 1) * page_bytes());
    CHECK(end_of_write_to(marked + stack_bytes) == killed_by(SIGSEGV));
    CHECK(end_of_write_to(marked + stack_bytes + page_bytes()) == 0);
  }
  munmap(marked, size);
  found(Verdict::holds,
        "{} stacks with guards: {} mappings of at most {} in a process; with markers: {}", count,
        2 * count, number_in("/proc/sys/vm/max_map_count"),
        markers > 0 ? fmt::format("1 mapping and {} KiB of page tables", for_markers / KiB)
                    : "not on this kernel");
}

// ---- giving back --------------------------------------------------------------------------------

CLAIM(22, "M",
      "MADV_DONTNEED on anonymous memory drops RSS to zero, "
      "keeps the mapping, and the next read gives zeros.",
      "MADV_DONTNEED drops private anonymous memory to RSS zero, "
      "keeps mapping and charge, and the next read gives zeros") {
  constexpr std::size_t size = 4 * MiB;
  const SinglePages single_pages;
  char* const memory = lone_memory(size);
  std::memset(memory, 'x', size);
  const Mapping before = mapping_of(memory);
  CHECK(before.resident == size);

  REQUIRE(madvise(memory, size, MADV_DONTNEED) == 0);
  const Mapping after = mapping_of(memory);
  CHECK(after.resident == 0);
  CHECK(after.begin == before.begin);
  CHECK(after.end == before.end);
  CHECK(after.protection == "rw-p");
  CHECK(after.has_flag("ac"));  // still charged, because the kernel still owes us this memory

  // The pages are gone, and so is what was written. The next touch is a first touch again.
  const std::size_t faults_before = minor_faults();
  CHECK(is_zero(memory, size));
  const std::size_t faults = minor_faults() - faults_before;
  CHECK(faults >= size / page_bytes());

  // Shared anonymous memory is the exception: it is a file without a name, and we drop only our
  // view of it.
  auto* const shared = static_cast<char*>(
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  REQUIRE(shared != MAP_FAILED);
  std::memset(shared, 'x', size);
  REQUIRE(madvise(shared, size, MADV_DONTNEED) == 0);
  CHECK(resident_bytes(shared, size) == 0);
  CHECK(shared[0] == 'x');
  CHECK(shared[size - 1] == 'x');

  found(Verdict::holds,
        "RSS {} KiB, then {}; {} faults to read it again; shared memory kept what was written",
        before.resident / KiB, after.resident, faults);
  munmap(shared, size);
  munmap(memory, size);
}

CLAIM(23, "M", "posix_madvise(POSIX_MADV_DONTNEED) returns success and does nothing.",
      "posix_madvise with POSIX_MADV_DONTNEED returns success and does nothing") {
  constexpr std::size_t size = 64 * KiB;
  char* const memory = map_memory(size);
  std::memset(memory, 'x', size);
  // The advice of POSIX leaves the data as it is, the advice of Linux drops it, and both are called
  // DONTNEED. glibc does what the name means in POSIX. The kernel has no such advice, so glibc does
  // nothing.
  static_assert(POSIX_MADV_DONTNEED == MADV_DONTNEED, "even the number is the same");
  CHECK(posix_madvise(memory, size, POSIX_MADV_DONTNEED) == 0);
  const std::size_t resident = resident_bytes(memory, size);
  CHECK(resident == size);
  CHECK(memory[0] == 'x');
  // The kernel is not even asked. It would refuse here, because nothing is mapped any more.
  munmap(memory, size);
  const int of_dontneed = posix_madvise(memory, size, POSIX_MADV_DONTNEED);
  const int of_another = posix_madvise(memory, size, POSIX_MADV_WILLNEED);
  CHECK(of_dontneed == 0);
  CHECK(of_another == ENOMEM);
  found(Verdict::holds,
        "{} of {} KiB resident after it; where nothing is mapped: {}, and POSIX_MADV_WILLNEED {}",
        resident / KiB, size / KiB, of_dontneed, strerrorname_np(of_another));
}

// ---- keeping ------------------------------------------------------------------------------------

namespace {

constexpr const char* may_not_lock = "RLIMIT_MEMLOCK (ulimit -l) does not allow to lock that much";

}  // namespace

CLAIM(24, "M", "MADV_DONTNEED is refused on locked memory.",
      "MADV_DONTNEED is refused on locked memory, yet drops the unlocked memory below it first") {
  const std::size_t half = 8 * page_bytes();
  char* const memory = lone_memory(2 * half);
  touch_each_page(memory, 2 * half);
  // mlock(2) promises that these pages stay in memory. Advice does not break a promise.
  if (mlock(memory + half, half) != 0) {
    return skip(may_not_lock);
  }
  CHECK(madvise(memory + half, half, MADV_DONTNEED) == -1);
  CHECK(errno == EINVAL);
  CHECK(resident_bytes(memory + half, half) == half);

  // The kernel goes upwards from mapping to mapping, and the locked one is the second. So a refusal
  // does not mean that nothing happened.
  CHECK(madvise(memory, 2 * half, MADV_DONTNEED) == -1);
  CHECK(errno == EINVAL);
  CHECK(resident_bytes(memory, half) == 0);
  CHECK(resident_bytes(memory + half, half) == half);

  // Linux 5.18 has an advice that also drops locked pages. What is touched next is locked again.
  constexpr int madv_dontneed_locked = 24;
  const bool dropped = madvise(memory + half, half, madv_dontneed_locked) == 0;
  CHECK(resident_bytes(memory + half, half) == (dropped ? 0 : half));
  CHECK(mapping_of(memory + half).has_flag("lo"));  // locked
  // Without it the memory must be unlocked first.
  touch_each_page(memory + half, half);
  REQUIRE(munlock(memory + half, half) == 0);
  CHECK(madvise(memory, 2 * half, MADV_DONTNEED) == 0);
  CHECK(resident_bytes(memory, 2 * half) == 0);
  found(Verdict::holds, "EINVAL, {} KiB stay; MADV_DONTNEED_LOCKED: {}", half / KiB,
        dropped ? "drops them" : "not on this kernel");
}

CLAIM(25, "S", "mlock2(MLOCK_ONFAULT) keeps touched pages in memory without touching the rest.",
      "mlock2 with MLOCK_ONFAULT keeps touched pages in memory "
      "without touching the rest, but the limit counts the rest") {
  const std::size_t page = page_bytes();
  const std::size_t size = 8 * page;
  const SinglePages single_pages;
  char* const plain = lone_memory(size);
  if (mlock(plain, size) != 0) {
    return skip(may_not_lock);
  }
  CHECK(resident_bytes(plain, size) == size);  // mlock alone fills what it locks
  munlock(plain, size);

  char* const memory = lone_memory(size);
  memory[3 * page] = 1;
  const std::size_t locked_before = status_bytes("VmLck");
  REQUIRE(mlock2(memory, size, MLOCK_ONFAULT) == 0);
  const std::size_t after_lock = resident_bytes(memory, size);
  CHECK(after_lock == page);
  memory[5 * page] = 1;
  const std::size_t after_touch = resident_bytes(memory, size);
  CHECK(after_touch == 2 * page);

  // What is in memory stays there. Each way to take pages away works for `plain`, and fails for
  // this memory. (MADV_PAGEOUT puts pages into swap at once, where there is swap.)
  for (const int advice : {MADV_DONTNEED, MADV_PAGEOUT}) {
    CAPTURE(advice);
    CHECK(madvise(plain, size, advice) == 0);
    CHECK(madvise(memory, size, advice) == -1);
    CHECK(errno == EINVAL);
  }
  CHECK(resident_bytes(plain, size) == 0);
  CHECK(resident_bytes(memory, size) == 2 * page);
  const std::size_t counted = status_bytes("VmLck") - locked_before;
  CHECK(counted == size);  // RLIMIT_MEMLOCK bounds this number
  found(Verdict::holds,
        "of {} KiB resident: {} after mlock2, {} after a touch more; RLIMIT_MEMLOCK counts {}",
        size / KiB, after_lock / KiB, after_touch / KiB, counted / KiB);
  munlock(memory, size);
}

namespace {

constexpr std::size_t critical_depth = 128 * KiB;
constexpr std::size_t prepared_depth = 256 * KiB;  // with room to spare

/// Returns how many page faults this thread has had so far.
std::size_t page_faults() {
  rusage used{};
  getrusage(RUSAGE_THREAD, &used);
  return static_cast<std::size_t>(used.ru_minflt + used.ru_majflt);
}

/// Runs a critical section, which goes deep into the stack and writes to every page on the way.
/// Returns its page faults.
std::size_t faults_of_critical_section() {
  const std::size_t before = page_faults();
  descend(critical_depth);
  return page_faults() - before;
}

struct CriticalSections {
  bool locked = false;
  std::size_t unprepared = 0;
  std::size_t prepared = 0;
  std::size_t after_fork = 0;
};

/// Runs critical sections on the stack of the caller.
CriticalSections run_critical_sections() {
  CriticalSections faults;
  faults.unprepared = faults_of_critical_section();

  char* const here = begin_of_page(__builtin_frame_address(0));
  descend(prepared_depth);  // touches. The main thread's stack did not even reach so far before
  faults.locked = mlock(here - prepared_depth, prepared_depth + page_bytes()) == 0;
  faults.prepared = faults_of_critical_section();

  // A fork undoes it. Parent and child share all pages, which can only be read from now on, and the
  // first write to each is a fault that makes a copy. It is a fault even if, as here, the child has
  // ended and nothing needs to be copied.
  end_of_child([] { return 0; });
  faults.after_fork = faults_of_critical_section();
  munlock(here - prepared_depth, prepared_depth + page_bytes());
  return faults;
}

}  // namespace

CLAIM(26, "R",
      "Lock, touch every page, then run: there is not one page fault in the critical section.",
      "a critical section on a stack that was touched and "
      "locked has not one page fault, until the process forks") {
  const SinglePages single_pages;
  const CriticalSections of_main = run_critical_sections();

  CriticalSections of_thread;
  std::thread([&] { of_thread = run_critical_sections(); }).join();

  // Here memory of our own is the stack of a thread.
  constexpr std::size_t size = MiB;
  char* const memory = map_memory(size);
  CriticalSections of_own;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  REQUIRE(pthread_attr_setstack(&attributes, memory, size) == 0);
  const auto run = [](void* result) -> void* {
    *static_cast<CriticalSections*>(result) = run_critical_sections();
    return nullptr;
  };
  pthread_t thread{};
  REQUIRE(pthread_create(&thread, &attributes, run, &of_own) == 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  munmap(memory, size);

  if (!of_main.locked || !of_thread.locked || !of_own.locked) {
    return skip(may_not_lock);
  }
  const std::size_t pages = critical_depth / page_bytes();
  CHECK(of_own.unprepared >= pages - 1);  // the other two stacks may have been used before
  for (const CriticalSections& faults : {of_main, of_thread, of_own}) {
    CHECK(faults.prepared == 0);
    CHECK(faults.after_fork >= pages - 1);
  }
  found(Verdict::holds,
        "faults unprepared, prepared, after a fork: main {}, "
        "{}, {}; thread {}, {}, {}; own memory {}, {}, {}",
        of_main.unprepared, of_main.prepared, of_main.after_fork, of_thread.unprepared,
        of_thread.prepared, of_thread.after_fork, of_own.unprepared, of_own.prepared,
        of_own.after_fork);
}

// ---- counting -----------------------------------------------------------------------------------

CLAIM(27, "L", "VIRT and RES differ by exactly what has not been touched.",
      "VIRT and RES differ by what was only read or was given back, "
      "too, not only by what has not been touched") {
  constexpr std::size_t quarter = MiB;
  const std::size_t pages = quarter / page_bytes();
  const SinglePages single_pages;
  // top(1) shows VIRT and RES for the whole process: the sums of the sizes, and of what is
  // resident, over its mappings. Here they are looked at for one mapping of four quarters.
  const std::size_t virt_before = status_bytes("VmSize");
  char* const memory = lone_memory(4 * quarter);
  // The page on either side is counted, too.
  CHECK(status_bytes("VmSize") == virt_before + 4 * quarter + 2 * page_bytes());
  const auto missing = [&] { return 4 * quarter - mapping_of(memory).resident; };
  CHECK(missing() == 4 * quarter);

  // Two quarters are written. So far the claim is right.
  touch_each_page(memory, 2 * quarter);
  const std::size_t after_writing = missing();
  CHECK(after_writing == 2 * quarter);

  // A quarter is read. That is a touch, with a fault for each page. But the kernel answers with its
  // one page of zeros, which all processes share and which is counted for none.
  const std::size_t faults_before = minor_faults();
  CHECK(is_zero(memory + 2 * quarter, quarter));
  CHECK(minor_faults() - faults_before >= pages);
  const std::size_t after_reading = missing();
  CHECK(after_reading == 2 * quarter);  // only one of these is untouched

  // And what was touched and then given back is missing again.
  REQUIRE(madvise(memory, quarter, MADV_DONTNEED) == 0);
  const std::size_t after_giving_back = missing();
  CHECK(after_giving_back == 3 * quarter);

  // The last quarter is the one that nobody touched.
  CHECK(resident_bytes(memory + 3 * quarter, quarter) == 0);
  found(Verdict::never_did, "{} KiB untouched, VIRT - RES is {} KiB", quarter / KiB,
        after_giving_back / KiB);
  munmap(memory, 4 * quarter);
}

namespace {

/// Returns whether the page is mapped, resident or not. mincore(2) knows that. Here is no vector
/// for its answer, because that could move the heap.
bool is_mapped(char* address) {
  unsigned char answer = 0;
  return mincore(begin_of_page(address), 1, &answer) == 0;
}

}  // namespace

CLAIM(28, "L", "brk moves the end of the heap by the page.",
      "brk moves the end of the heap by the byte, and the kernel maps the pages that it reaches") {
  // sbrk(n) is brk(2) with the old end plus n, and returns the old end. Nothing here may call
  // malloc, which moves the same end. So first everything is done, and then it is looked at.
  const std::size_t page = page_bytes();
  const auto grow = [](std::ptrdiff_t bytes) { return static_cast<char*>(sbrk(bytes)); };
  char* const odd_end = grow(0);
  const auto to_next_page =
      static_cast<std::ptrdiff_t>((page - reinterpret_cast<std::uintptr_t>(odd_end) % page) % page);
  grow(to_next_page);  // with glibc this is 0, because it keeps the end at a page

  char* const end = grow(0);
  const bool mapped_before = is_mapped(end);
  grow(1);
  const auto moved = grow(0) - end;
  const bool page_is_mapped = is_mapped(end);
  const bool next_page_is_mapped = is_mapped(end + page);
  *static_cast<volatile char*>(end + page - 1) = 1;  // beyond the end, but it works
  grow(static_cast<std::ptrdiff_t>(page));
  const bool next_page_is_mapped_then = is_mapped(end + page);
  grow(-static_cast<std::ptrdiff_t>(page) - 1);
  const auto back = grow(0) - end;
  const bool mapped_after = is_mapped(end);
  grow(-to_next_page);

  CHECK_FALSE(mapped_before);
  CHECK(moved == 1);
  CHECK(page_is_mapped);
  CHECK_FALSE(next_page_is_mapped);
  CHECK(next_page_is_mapped_then);
  CHECK(back == 0);
  CHECK_FALSE(mapped_after);  // what lies above the new end is given back at once
  found(Verdict::never_did,
        "moved by 1 byte: the end moved by {}, and {} bytes more can be written", moved, page);
}
