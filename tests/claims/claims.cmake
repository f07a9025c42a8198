# What people say about stacks, on trial: the program `claims` with a test of each claim, and
# `claims_table`, which runs them all and writes down what came out.
if(GROWSTACK_SANITIZER)
  message(STATUS
    "claims are left out under this sanitizer: they are about the kernel and the C library")
  return()
endif()
find_package(CLI11 REQUIRED CONFIG)
find_package(fmt REQUIRED CONFIG)

# The claim about guards calls one function that is compiled twice, with an option and without it. A
# compiler may have either as its default.
function(claims_large_frame option name)
  add_library(claims_${name} OBJECT claims/large_frame.cpp)
  growstack_own_settings(claims_${name})
  target_include_directories(claims_${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_compile_options(claims_${name} PRIVATE ${option})
  target_compile_definitions(claims_${name} PRIVATE GROWSTACK_LARGE_FRAME=${name})
endfunction()
claims_large_frame(-fno-stack-clash-protection large_frame)
claims_large_frame(-fstack-clash-protection large_frame_that_probes)

# The claim about split stacks runs a program, because another linker has to link it.
include(${PROJECT_SOURCE_DIR}/cmake/split_stack_linker.cmake)
if(GROWSTACK_SPLIT_STACK_LINKER)
  foreach(name IN ITEMS split plain)
    add_library(claims_${name}_code OBJECT claims/split_code.cpp)
    growstack_own_settings(claims_${name}_code)
    target_compile_definitions(claims_${name}_code PRIVATE GROWSTACK_SPLIT_CODE=${name})
  endforeach()
  target_compile_options(claims_split_code PRIVATE -fsplit-stack)
  add_executable(claims_split_stack claims/split_stack.cpp)
  growstack_own_settings(claims_split_stack)
  target_include_directories(claims_split_stack PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_options(claims_split_stack PRIVATE
    -fsplit-stack -fuse-ld=${GROWSTACK_SPLIT_STACK_LINKER})
  target_link_libraries(claims_split_stack PRIVATE claims_split_code claims_plain_code fmt::fmt)
  set(split_stack claims_split_stack)
endif()

growstack_test(claims
  SOURCES
    claims/claim.cpp
    claims/look.cpp
    claims/thread_stacks.cpp
    claims/main_stack.cpp
    claims/memory.cpp
    claims/mappings.cpp
    claims/growing.cpp
  LINK fmt::fmt ${CMAKE_DL_LIBS} claims_large_frame claims_large_frame_that_probes
  NEEDS ${split_stack})

add_executable(claims_table claims/table.cpp)
growstack_own_settings(claims_table)
target_include_directories(claims_table PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(claims_table PRIVATE CLI11::CLI11 fmt::fmt)
add_dependencies(claims_table claims)
add_test(NAME "claims: the table" COMMAND claims_table)
set_tests_properties("claims: the table" PROPERTIES TIMEOUT 120 LABELS claims_table)
