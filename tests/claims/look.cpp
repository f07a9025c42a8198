#include "claims/look.hpp"

#include "support/address_of.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <system_error>

namespace growstack::testing {
namespace {

[[noreturn]] void fail(const char* what, int error = errno) {
  throw std::system_error(error, std::generic_category(), what);
}

}  // namespace

std::size_t page_bytes() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }

Mapping mapping_of(const void* address) {
  const std::vector<Mapping> found = mappings();
  const std::uintptr_t wanted = address_of(address);
  for (const Mapping& each : found) {
    if (each.begin <= wanted && wanted < each.end) {
      return each;
    }
  }
  throw std::runtime_error("nothing is mapped there");
}

std::size_t resident_bytes(const void* begin, std::size_t size) {
  constexpr std::uint64_t present = std::uint64_t{1} << 63U;  // proc_pid_pagemap(5)
  const std::size_t pages = size / page_bytes();
  std::vector<std::uint64_t> entries(pages);
  const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  const auto offset = static_cast<off_t>(address_of(begin) / page_bytes() * sizeof(std::uint64_t));
  const auto wanted = static_cast<ssize_t>(pages * sizeof(std::uint64_t));
  const bool is_read = pagemap >= 0 && pread(pagemap, entries.data(),
                                             static_cast<std::size_t>(wanted), offset) == wanted;
  if (pagemap >= 0) {
    close(pagemap);
  }
  if (!is_read) {
    fail("/proc/self/pagemap");
  }
  std::size_t resident = 0;
  for (const std::uint64_t entry : entries) {
    resident += (entry & present) != 0 ? page_bytes() : 0;
  }
  return resident;
}

std::vector<bool> mincore_pages(const void* begin, std::size_t size) {
  std::vector<unsigned char> answers(size / page_bytes());
  if (mincore(const_cast<void*>(begin), size, answers.data()) != 0) {
    fail("mincore");
  }
  std::vector<bool> pages;
  for (const unsigned char answer : answers) {
    pages.push_back((answer & 1U) != 0);  // the other bits are reserved
  }
  return pages;
}

std::size_t minor_faults() {
  rusage used{};
  if (getrusage(RUSAGE_THREAD, &used) != 0) {
    fail("getrusage");
  }
  return static_cast<std::size_t>(used.ru_minflt);
}

std::size_t process_resident_bytes() { return status_bytes("VmRSS"); }

std::size_t page_table_bytes() { return status_bytes("VmPTE"); }

char* map_memory(std::size_t size, int further_flags) {
  void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | further_flags, -1, 0);
  if (memory == MAP_FAILED) {
    fail("mmap");
  }
  return static_cast<char*>(memory);
}

void touch_each_page(void* begin, std::size_t size) {
  auto* const bytes = static_cast<volatile char*>(begin);
  for (std::size_t offset = size; offset > 0; offset -= page_bytes()) {
    bytes[offset - page_bytes()] = 1;
  }
}

bool StackPlace::contains(const void* address) const {
  return address_of(begin) <= address_of(address) && address_of(address) < address_of(end);
}

StackPlace stack_of(pthread_t thread) {
  pthread_attr_t attributes;
  if (const int error = pthread_getattr_np(thread, &attributes); error != 0) {
    fail("pthread_getattr_np", error);
  }
  void* begin = nullptr;
  std::size_t size = 0;
  pthread_attr_getstack(&attributes, &begin, &size);
  pthread_attr_destroy(&attributes);
  return {.begin = static_cast<char*>(begin), .end = static_cast<char*>(begin) + size};
}

StackPlace running_stack() { return stack_of(pthread_self()); }

}  // namespace growstack::testing
