// CPython, embedded. It counts its recursion, and takes the C stack for deep enough. Its module
// faulthandler puts handlers over ours that restore what was there and raise the signal again.
// From 3.14 on it also asks for the bounds of the thread's stack.
#include <Python.h>  // first, as Python wants it

#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/recursion.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <string>

using namespace growstack;
using namespace growstack::testing;

namespace {

/// From 3.12 on, Python has limits of its own for calls that go through C.
constexpr int python_depth = PY_VERSION_HEX < 0x030c0000 ? 50'000 : 2'000;

/// Python calls C, which calls Python, and so on, each time on the C stack.
const std::string program =
    "import sys\n"
    "sys.setrecursionlimit(1000000)\n"
    "def down(n):\n"
    "  return 0 if n == 0 else 1 + next(map(down, [n - 1]))\n"
    "def without_end(n):\n"
    "  return next(map(without_end, [n + 1]))\n"
    "def deep_enough():\n"
    "  assert down(" +
    std::to_string(python_depth) + ") == " + std::to_string(python_depth) +
    "\n"
    "  sys.setrecursionlimit(1000)\n"
    "  try:\n"
    "    without_end(0)\n"
    "  except RecursionError:\n"
    "    sys.setrecursionlimit(1000000)\n"
    "    return\n"
    "  raise AssertionError\n";

/// Goes deep in C, in a call, for a Python program.
PyObject* descend_in_c(PyObject*, PyObject*) {
  return PyLong_FromSize_t(call({.reserve = 256 * MiB, .name = "extension"}, recurse, deep));
}
PyMethodDef descend_definition{"descend", descend_in_c, METH_NOARGS, nullptr};

bool run(const char* statement) { return PyRun_SimpleString(statement) == 0; }

void start_python() {
  Py_InitializeEx(0);
  require(run(program.c_str()), "the program");
  PyObject* const function = PyCFunction_New(&descend_definition, nullptr);
  require(PyObject_SetAttrString(PyImport_AddModule("__main__"), "descend", function) == 0,
          "the function in C");
}

StackOptions large() { return {.reserve = 256 * MiB, .name = "python"}; }

/// Runs Python in a call, twice, and C in a call out of Python.
int in_call() {
  int right = 0;
  for (int round = 0; round < 2; ++round) {
    Stack stack(large());
    right += call(stack, [] { return run("deep_enough()"); }) ? 1 : 0;
    right += run(("assert descend() == " + std::to_string(deep)).c_str()) ? 1 : 0;
  }
  return right == 4 ? 7 : right;
}

}  // namespace

GROWSTACK_SCENARIO("in a call") {
  start_python();
  return in_call();
}

TEST_CASE("Python goes deep in a call, and C out of Python") {
  CHECK(run_scenario("in a call").exit_code == 7);
}

GROWSTACK_SCENARIO("faulthandler first") {
  start_python();
  require(run("import faulthandler; faulthandler.enable()"), "faulthandler");
  return in_call();
}

GROWSTACK_SCENARIO("faulthandler last") {
  const Stack first;
  start_python();
  require(run("import faulthandler; faulthandler.enable()"), "faulthandler");
  return in_call();
}

TEST_CASE("stacks grow if Python's faulthandler was there before, or came later") {
  CHECK(run_scenario("faulthandler first").exit_code == 7);
  CHECK(run_scenario("faulthandler last").exit_code == 7);
}

GROWSTACK_SCENARIO("faulthandler over a stack that exists") {
  start_python();
  Stack stack(large());
  return call(stack,
              [] {
                const bool enabled = run("import faulthandler; faulthandler.enable()");
                return enabled && recurse(deep) == deep && run("deep_enough()");
              })
             ? 7
             : 1;
}

TEST_CASE("a stack in use grows after Python's faulthandler was enabled on it") {
  CHECK(run_scenario("faulthandler over a stack that exists").exit_code == 7);
}

GROWSTACK_SCENARIO("faulthandler reports") {
  no_core();
  start_python();
  require(run("import faulthandler; faulthandler.enable()"), "faulthandler");
  static_cast<void>(in_call());
  run("def crash():\n  import ctypes\n  ctypes.string_at(0)\ncrash()");
  return 0;
}

TEST_CASE("Python's faulthandler reports a crash, and the process dies of it") {
  const Ended ended = run_scenario("faulthandler reports");
  CHECK(ended.signal == SIGSEGV);
  CHECK(contains(ended.err, "Fatal Python error: Segmentation fault"));
  CHECK(contains(ended.err, "in crash"));
}

GROWSTACK_SCENARIO("on a thread") {
  start_python();
  bool deep_enough = false;
  PyThreadState* const main = PyEval_SaveThread();
  Thread(large(), [&deep_enough] {
    const PyGILState_STATE state = PyGILState_Ensure();
    deep_enough = run("deep_enough()") && run("deep_enough()");
    PyGILState_Release(state);
  }).join();
  PyEval_RestoreThread(main);
  return deep_enough ? 7 : 1;
}

TEST_CASE("Python goes deep on a growstack::Thread") {
  CHECK(run_scenario("on a thread").exit_code == 7);
}
