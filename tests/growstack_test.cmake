# growstack_test(): how a test is built, run and labelled.
#
# Each test case is a ctest test in a process of its own, because what it installs in its process
# must not reach another. ctest counts a test that prints "SKIPPED: why" as skipped.
include(doctest)  # doctest_discover_tests

# growstack_test(<folder>/<name> [keywords...]): builds the program <name> from <folder>/<name>.cpp.
# Its ctest tests have the label <name>, and their names begin with "<name>: ". All that is special
# about a test is written in its call:
#
#   SOURCES <file>...      makes the program of these files, and not of <folder>/<name>.cpp
#   LINK <library>...      links these libraries besides growstack
#   DEFINE <definition>... compiles with these definitions
#   WARNINGS <option>...   compiles with these options besides the warnings of every program
#   NEEDS <target>...      builds these programs first, because the test runs them
#   NOT_UNDER <sanitizer> <why>
#                          leaves it out under this sanitizer: thread, address or any. Can be
#                          repeated
#   WHERE <variable> <package>
#                          is about software that this package brings. Unless CMake found it, which
#                          the variable tells, there is one test, which is skipped and says so
#   OWN_MAIN               has a main() of its own, so it is one ctest test, which runs the program
#   ONE_PROCESS            runs all cases in one process if there is a sanitizer, because there are
#                          many of them and each process takes a second to start
#   TIMEOUT <seconds>      lets each case run that long, and not two minutes
#   ALONE                  runs no other test at the same time
#   AGAIN <way>...         runs all cases a second time: see growstack_again_<way> below
function(growstack_test path)
  cmake_path(GET path FILENAME name)
  cmake_parse_arguments(PARSE_ARGV 1 test
    "ONE_PROCESS;ALONE;OWN_MAIN" "TIMEOUT"
    "SOURCES;LINK;DEFINE;WARNINGS;NEEDS;NOT_UNDER;WHERE;AGAIN")
  if(test_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "growstack_test(${path}) does not know ${test_UNPARSED_ARGUMENTS}")
  endif()
  while(test_NOT_UNDER)
    list(POP_FRONT test_NOT_UNDER sanitizer why)
    if(GROWSTACK_SANITIZER AND sanitizer MATCHES "^(any|${GROWSTACK_SANITIZER})$")
      message(STATUS "${name} is left out under this sanitizer: ${why}")
      return()
    endif()
  endwhile()
  if(test_WHERE)
    list(POP_FRONT test_WHERE found package)
    if(NOT ${found})
      add_test(NAME "${name}: all"
        COMMAND ${CMAKE_COMMAND} -E echo "SKIPPED: the package ${package} is not installed")
      set_tests_properties("${name}: all" PROPERTIES
        SKIP_REGULAR_EXPRESSION "SKIPPED: " LABELS ${name})
      return()
    endif()
  endif()
  if(NOT test_TIMEOUT)
    set(test_TIMEOUT 120)
  endif()
  if(NOT test_SOURCES)
    set(test_SOURCES ${path}.cpp)
  endif()

  add_executable(${name} ${test_SOURCES})
  growstack_own_settings(${name})
  # Some tests look at parts that are not public.
  target_include_directories(${name} PRIVATE
    ${PROJECT_SOURCE_DIR}/handler ${PROJECT_SOURCE_DIR}/lib)
  target_link_libraries(${name} PRIVATE growstack::growstack growstack_test_support ${test_LINK})
  target_compile_definitions(${name} PRIVATE ${test_DEFINE})
  target_compile_options(${name} PRIVATE ${test_WARNINGS})
  if(test_NEEDS)
    add_dependencies(${name} ${test_NEEDS})
  endif()

  if(test_OWN_MAIN OR (GROWSTACK_SANITIZER AND test_ONE_PROCESS))
    add_test(NAME "${name}: all"
      COMMAND ${CMAKE_COMMAND} -E env "${growstack_sanitizer_options}" $<TARGET_FILE:${name}>)
    set_tests_properties("${name}: all" PROPERTIES TIMEOUT 300 LABELS ${name})
  else()
    growstack_discover(${name} "${name}: " ${name} ${test_ALONE})
  endif()
  foreach(way IN LISTS test_AGAIN)
    cmake_language(CALL growstack_again_${way} ${name})
  endforeach()
endfunction()

# AGAIN one_page: every stack begins with one committed page. This shows what untouched memory means
# to calls of every kind.
function(growstack_again_one_page name)
  growstack_discover_after(${name} one_page "one page"
    "${CMAKE_COMMAND};-E;env;GROWSTACK_INITIAL_COMMIT=page")
endfunction()

# AGAIN old_kernel: as on an older kernel, or in a container that forbids what it can. Each case
# passes, or is skipped with the reason.
function(growstack_again_old_kernel name)
  add_dependencies(${name} old_kernel)
  growstack_discover_after(${name} old_kernel "old kernel" "$<TARGET_FILE:old_kernel>;--")
endfunction()

# AGAIN no_pagemap_scan: as before Linux 6.7, which can tell less about resident pages.
function(growstack_again_no_pagemap_scan name)
  add_dependencies(${name} old_kernel)
  growstack_discover_after(${name} no_pagemap_scan "no PAGEMAP_SCAN"
    "$<TARGET_FILE:old_kernel>;pagemap_scan;--")
endfunction()

# growstack_proof(<name> [keywords...]): the same for a program that tests/prove runs, and tests/run
# does not.
function(growstack_proof name)
  growstack_test(${name} ${ARGN})
  if(TARGET ${name})
    add_dependencies(proofs ${name})
  endif()
endfunction()

# growstack_discover_after(<program> <label> <prefix> <command>): makes a second ctest test of each
# case, with a command before that of the test. CMake knows such a command from cross compiling, as
# the emulator. A sanitizer finds no more than the first time, so it runs no case again.
function(growstack_discover_after name label prefix command)
  if(NOT GROWSTACK_SANITIZER)
    set_target_properties(${name} PROPERTIES CROSSCOMPILING_EMULATOR "${command}")
    # The arguments only give the list of tests a name that no other list has. --no-version changes
    # nothing, and doctest ignores what it does not know.
    growstack_discover(${name} "${prefix}: ${name}: " ${label} OFF --no-version=true --${label})
    set_property(TARGET ${name} PROPERTY CROSSCOMPILING_EMULATOR)
  endif()
endfunction()

# growstack_discover(<program> <prefix> <label> <alone> [arguments...]): makes a ctest test of each
# case.
function(growstack_discover name prefix label alone)
  doctest_discover_tests(${name} TEST_PREFIX "${prefix}" EXTRA_ARGS ${ARGN} PROPERTIES
    TIMEOUT ${test_TIMEOUT}  # of growstack_test(), which calls this
    RUN_SERIAL ${alone}
    # No second variable: CMake would take what follows a semicolon for further properties.
    ENVIRONMENT "${growstack_sanitizer_options}"
    SKIP_REGULAR_EXPRESSION "SKIPPED: "
    LABELS ${label})
endfunction()

# A program dies as it would without a sanitizer, and its alternate signal stacks are ours to try.
set(growstack_sanitizer_options "ASAN_OPTIONS")
if(GROWSTACK_SANITIZER STREQUAL thread)
  set(growstack_sanitizer_options "TSAN_OPTIONS")
endif()
string(APPEND growstack_sanitizer_options "=handle_segv=0:handle_sigbus=0:use_sigaltstack=0")
