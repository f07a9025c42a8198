// Finds threads in which nothing happens any more.
#pragma once

#include <stop_token>
#include <thread>

namespace growstack::soak {

class Watchdog {
 public:
  Watchdog();

 private:
  std::jthread thread_;
};

}  // namespace growstack::soak
