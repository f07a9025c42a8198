// The Java virtual machine of this system, started by JNI. It asks for the bounds of each thread's
// stack, protects pages at the low end, touches memory far below the stack pointer, and takes
// SIGSEGV for itself: null pointers and overflows of Java are such faults.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/each_strategy.hpp"
#include "support/recursion.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <jni.h>

#include <array>
#include <cstddef>
#include <string>

using namespace growstack;
using namespace growstack::testing;

namespace {

/// A virtual machine and the class that is tried in it. A process can have one.
class Machine {
 public:
  Machine() {
    std::string classes = "-Djava.class.path=" GROWSTACK_JAVA_CLASSES;
    std::string no_core = "-XX:-CreateCoredumpOnCrash";
    std::array<JavaVMOption, 2> options{};
    options[0].optionString = classes.data();
    options[1].optionString = no_core.data();
    JavaVMInitArgs arguments{};
    arguments.version = JNI_VERSION_10;
    arguments.nOptions = static_cast<jint>(options.size());
    arguments.options = options.data();
    void* environment = nullptr;
    require(JNI_CreateJavaVM(&machine_, &environment, &arguments) == JNI_OK, "a virtual machine");
    auto* const java = static_cast<JNIEnv*>(environment);
    depth_ = java->FindClass("Depth");
    require(depth_ != nullptr, "the class Depth");
    depth_ = static_cast<jclass>(java->NewGlobalRef(depth_));
    const std::array<JNINativeMethod, 1> methods{
        {{const_cast<char*>("descendNatively"), const_cast<char*>("(I)I"),
          reinterpret_cast<void*>(&descend_natively)}}};
    require(java->RegisterNatives(depth_, methods.data(), 1) == JNI_OK, "a native method");
  }
  ~Machine() { machine_->DestroyJavaVM(); }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  /// Runs the static method of the class in the calling thread, which the machine knows.
  template <class... Args>
  int run(const char* method, const char* signature, Args... args) {
    JNIEnv& java = environment();
    return java.CallStaticIntMethod(depth_, java.GetStaticMethodID(depth_, method, signature),
                                    args...);
  }
  int overflow() { return run("overflow", "()I"); }
  int descend(std::size_t frames) {
    return run("descendNatively", "(I)I", static_cast<jint>(frames));
  }

  /// Returns whether Java throws an error, which it does not catch, before anything has run.
  bool overflow_at_once() {
    static_cast<void>(overflow());
    JNIEnv& java = environment();
    const bool thrown = java.ExceptionCheck() == JNI_TRUE;
    java.ExceptionClear();
    return thrown;
  }

  void attach() {
    void* environment = nullptr;
    require(machine_->AttachCurrentThread(&environment, nullptr) == JNI_OK, "to attach a thread");
  }
  void detach() { machine_->DetachCurrentThread(); }

 private:
  JNIEnv& environment() {
    void* environment = nullptr;
    require(machine_->GetEnv(&environment, JNI_VERSION_10) == JNI_OK, "a thread of the machine");
    return *static_cast<JNIEnv*>(environment);
  }

  /// A native method that needs more stack than the threads of the machine have.
  static jint JNICALL descend_natively(JNIEnv*, jclass, jint frames) {
    return static_cast<jint>(call({.reserve = 256 * MiB, .name = "native method"}, recurse,
                                  static_cast<std::size_t>(frames)));
  }

  JavaVM* machine_ = nullptr;
  jclass depth_ = nullptr;
};

/// Lets a thread on a growable stack overflow in Java again and again, with native depth in
/// between. Returns 7 if all is well.
int java_on_thread(Machine& machine, const StackOptions& options, int frames) {
  int result = 1;
  Thread(options, [&] {
    machine.attach();
    const bool first = machine.overflow() > frames && machine.overflow() > frames;
    const bool native = machine.descend(deep) == static_cast<int>(deep);
    result = first && native && machine.overflow() > frames ? 7 : 2;
    machine.detach();
  }).join();
  return result;
}

int java_on_thread_of(const Traits& of) {
  Machine machine;
  // grows_down can have as much as RLIMIT_STACK, 8 MiB.
  return java_on_thread(machine, {.reserve = 6 * MiB, .strategy = of.strategy}, 10'000);
}
const ScenarioOfEach<java_on_thread_of> java_on_threads("Java on a thread");

}  // namespace

EVERY_STRATEGY("on a growstack::Thread, Java throws StackOverflowError again and again") {
  CHECK(run_scenario_of("Java on a thread", Of::traits).exit_code == 7);
}

GROWSTACK_SCENARIO("deep Java") {
  const Stack before_the_machine;
  Machine machine;
  return java_on_thread(machine, {.reserve = 64 * MiB, .name = "java"}, 200'000);
}

TEST_CASE("Java goes deeper on a growstack::Thread than an ordinary stack allows") {
  CHECK(run_scenario("deep Java").exit_code == 7);
}

namespace {

/// Goes deep in native methods of the thread that started the machine, and overflows in Java.
int native_depth(Machine& machine) {
  for (int round = 0; round < 2; ++round) {
    if (machine.descend(deep) != static_cast<int>(deep) || machine.overflow() < 1000) {
      return 1;
    }
  }
  return 7;
}

}  // namespace

GROWSTACK_SCENARIO("native depth") {
  Machine machine;
  return native_depth(machine);
}
GROWSTACK_SCENARIO("native depth, growstack first") {
  const Stack before_the_machine;
  Machine machine;
  return native_depth(machine);
}

TEST_CASE("a native method goes deep in a call, and Java still throws StackOverflowError") {
  CHECK(run_scenario("native depth").exit_code == 7);
  CHECK(run_scenario("native depth, growstack first").exit_code == 7);
}

GROWSTACK_SCENARIO("Java in a call") {
  Machine machine;
  const bool thrown =
      call({.reserve = 64 * MiB}, [&machine] { return machine.overflow_at_once(); });
  return thrown && machine.overflow() > 1000 ? 7 : 1;
}

TEST_CASE("in a call, Java throws StackOverflowError at once, because it knows another stack") {
  CHECK(run_scenario("Java in a call").exit_code == 7);
}
