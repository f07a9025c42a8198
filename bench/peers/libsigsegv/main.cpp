// growstack_libsigsegv: the peer libsigsegv of growstack_compare. It measures what one fault costs
// if GNU libsigsegv passes it to the handler of a region, which makes the page readable and
// writable.
#include "parts/bare_handler.hpp"
#include "parts/descent.hpp"
#include "parts/memory.hpp"
#include "parts/neighbour.hpp"

#include <growstack/handler/pages.hpp>

#include <sigsegv.h>
#include <sys/mman.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace growstack::bench {
namespace {

using handler::page_down;
using handler::page_size;

sigsegv_dispatcher dispatcher;  // NOLINT: the library's global handler gets no argument

int open_page(void* address, void*) {
  void* const page = reinterpret_cast<void*>(page_down(address_of(address)));
  return mprotect(page, page_size(), PROT_READ | PROT_WRITE) == 0 ? 1 : 0;
}

int dispatch(void* address, int) { return sigsegv_dispatch(&dispatcher, address); }

/// As long as it exists, faults in these pages open them.
class Region {
 public:
  explicit Region(const ReservedPages& pages)
      : ticket_(sigsegv_register(&dispatcher, const_cast<char*>(pages.begin()),
                                 static_cast<std::size_t>(pages.end() - pages.begin()), open_page,
                                 nullptr)) {
    if (ticket_ == nullptr) {
      throw std::runtime_error("sigsegv_register failed");
    }
  }
  ~Region() { sigsegv_unregister(&dispatcher, ticket_); }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

 private:
  void* ticket_;
};

std::vector<double> time_faults(std::size_t count, std::chrono::nanoseconds idle) {
  const ReservedPages pages(count * page_size());
  const Region registered(pages);
  std::vector<double> nanoseconds(count);
  time_each_fault(pages, nanoseconds, idle);
  return nanoseconds;
}

/// Answers {"burst", "rests", "rest_ns"} with the times in nanoseconds: {"burst", "cold", "ours",
/// "kernel"}.
nlohmann::json answer(const nlohmann::json& request) {
  static_cast<void>(page_size());  // asked for here, remembered for the handler
  sigsegv_init(&dispatcher);
  if (sigsegv_install_handler(dispatch) != 0) {
    throw std::runtime_error("sigsegv_install_handler failed");
  }
  const std::size_t burst = request.at("burst");
  warm_memory(burst * page_size());
  time_faults(1, std::chrono::nanoseconds(1));  // no function's first call is in the figures then
  const std::vector<double> in_burst = time_faults(burst, std::chrono::nanoseconds(0));
  const std::vector<double> cold =
      time_faults(request.at("rests"), std::chrono::nanoseconds(request.at("rest_ns")));
  return {{"burst", in_burst}, {"cold", cold}, {"ours", burst}, {"kernel", burst}};
}

}  // namespace
}  // namespace growstack::bench

int main(int argc, char** argv) {
  return growstack::bench::serve_as_neighbour(argc, argv, growstack::bench::answer);
}
