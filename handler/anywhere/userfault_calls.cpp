#include "anywhere/userfault_calls.hpp"

#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/pages.hpp>

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include <cerrno>

namespace growstack::handler {
namespace {

std::size_t bytes_there(int result, std::int64_t done, std::size_t wanted) noexcept {
  if (result == 0) {
    return wanted;
  }
  if (errno == EAGAIN && done > 0) {
    return static_cast<std::size_t>(done);
  }
  return errno == EEXIST ? page_size() : 0;
}

}  // namespace

int register_missing(int userfault, std::uintptr_t begin, std::size_t size) noexcept {
  uffdio_register wanted{};
  wanted.range = {begin, size};
  wanted.mode = UFFDIO_REGISTER_MODE_MISSING;
  return ioctl(userfault, UFFDIO_REGISTER, &wanted) == 0 ? 0 : failed(SystemCall::uffdio_register);
}

std::size_t map_page_of_zeros(int userfault, std::uintptr_t begin, std::size_t size) noexcept {
  uffdio_zeropage zero{};
  zero.range = {begin, size};
  zero.mode = UFFDIO_ZEROPAGE_MODE_DONTWAKE;
  const int result = ioctl(userfault, UFFDIO_ZEROPAGE, &zero);
  return bytes_there(result, zero.zeropage, size);
}

std::size_t copy_to_missing(int userfault, std::uintptr_t begin, std::uintptr_t from,
                            std::size_t size) noexcept {
  uffdio_copy copy{};
  copy.dst = begin;
  copy.src = from;
  copy.len = size;
  copy.mode = UFFDIO_COPY_MODE_DONTWAKE;
  const int result = ioctl(userfault, UFFDIO_COPY, &copy);
  return bytes_there(result, copy.copy, size);
}

bool wake_waiters(int userfault, std::uintptr_t page) noexcept {
  uffdio_range range{page, page_size()};
  return ioctl(userfault, UFFDIO_WAKE, &range) == 0;
}

}  // namespace growstack::handler
