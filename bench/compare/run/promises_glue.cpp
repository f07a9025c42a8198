// Until the promises have this in their room.
#include "run/group.hpp"

namespace growstack::compare {
namespace {

const Registered promises_measured({.name = "promise",
                                    .group = "promises",
                                    .measure = answer_promise,
                                    .compare_otherwise = compare_promises});

}  // namespace
}  // namespace growstack::compare
