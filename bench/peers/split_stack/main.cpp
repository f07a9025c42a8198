// growstack_split_stack: the peer split_stack of growstack_compare. It is a program of its own
// because it needs another linker.
#include "answers.hpp"
#include "parts/errors.hpp"
#include "parts/neighbour.hpp"

#include <pthread.h>

#include <array>
#include <stdexcept>
#include <string>

namespace growstack::split_stack {
namespace {

struct Question {
  const char* name;
  nlohmann::json (*answer)(const nlohmann::json& request);
};

constexpr std::array questions{Question{"growth", measure_growth},
                               Question{"hot_call", measure_hot_call},
                               Question{"real", run_real_program}};

nlohmann::json answer(const nlohmann::json& request) {
  const std::string task = request.at("task");
  for (const Question& question : questions) {
    if (task == question.name) {
      return question.answer(request);
    }
  }
  throw std::invalid_argument("no question of the name " + task);
}

}  // namespace

void on_fresh_stack(const std::function<void()>& body) {
  constexpr std::size_t first_piece = std::size_t{64} * 1024;
  pthread_attr_t attributes;
  bench::require_no_error(pthread_attr_init(&attributes), "pthread_attr_init");
  bench::require_no_error(pthread_attr_setstacksize(&attributes, first_piece),
                          "pthread_attr_setstacksize");
  pthread_t thread{};
  const int error = pthread_create(
      &thread, &attributes,
      [](void* argument) -> void* {
        (*static_cast<const std::function<void()>*>(argument))();
        return nullptr;
      },
      const_cast<std::function<void()>*>(&body));
  pthread_attr_destroy(&attributes);
  bench::require_no_error(error, "pthread_create");
  bench::require_no_error(pthread_join(thread, nullptr), "pthread_join");
}

}  // namespace growstack::split_stack

int main(int argc, char** argv) {
  return growstack::bench::serve_as_neighbour(argc, argv, growstack::split_stack::answer);
}
