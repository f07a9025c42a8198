#include "parts/round_trip.hpp"

#include "parts/at_once.hpp"
#include "parts/clock.hpp"
#include "parts/errors.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <future>
#include <thread>

namespace growstack::bench {
namespace {

class Pipe {
 public:
  Pipe() { require(pipe2(ends_, O_CLOEXEC) == 0, "pipe2"); }
  ~Pipe() {
    close(ends_[0]);
    close(ends_[1]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  void put(char byte) { require(write(ends_[1], &byte, 1) == 1, "write"); }
  [[nodiscard]] char take() {
    char byte = 0;
    require(read(ends_[0], &byte, 1) == 1, "read");
    return byte;
  }

 private:
  int ends_[2]{};  // NOLINT(modernize-avoid-c-arrays): pipe2(2) wants it
};

constexpr char question = 'q';
constexpr char end = 'e';

void answer_all(Pipe& questions, Pipe& answers) {
  while (questions.take() != end) {
    answers.put('a');
  }
}

void ask_all(std::span<double> nanoseconds) {
  stay_on_this_processor();  // threads inherit that
  Pipe questions;
  Pipe answers;
  std::thread other([&] { answer_all(questions, answers); });
  for (double& each : nanoseconds) {
    const auto before = Clock::now();
    questions.put(question);
    static_cast<void>(answers.take());
    each = nanoseconds_since(before);
  }
  questions.put(end);
  other.join();
}

}  // namespace

void time_each_round_trip(std::span<double> nanoseconds) {
  // A thread of its own, because the caller's threads may run where they like.
  std::async(std::launch::async, [&] { ask_all(nanoseconds); }).get();
}

}  // namespace growstack::bench
