# The neighbours that are installed here. A test of another one is skipped: see WHERE in
# growstack_test.cmake.
find_package(Catch2 QUIET)
find_package(Boost 1.74 QUIET CONFIG OPTIONAL_COMPONENTS unit_test_framework)
find_package(OpenMP QUIET)
pkg_check_modules(libgc QUIET IMPORTED_TARGET bdw-gc>=8.2)
pkg_check_modules(lua QUIET IMPORTED_TARGET lua5.4)
pkg_check_modules(pcre QUIET IMPORTED_TARGET libpcre)
pkg_check_modules(python QUIET IMPORTED_TARGET python3-embed)
pkg_check_modules(ruby QUIET IMPORTED_TARGET ruby)

# The Java virtual machine to which the compiler in PATH belongs, and the class that it runs.
find_program(GROWSTACK_JAVAC javac)
if(GROWSTACK_JAVAC)
  file(REAL_PATH ${GROWSTACK_JAVAC} javac)
  cmake_path(GET javac PARENT_PATH java_home)
  cmake_path(GET java_home PARENT_PATH java_home)
endif()
set(java_library "${java_home}/lib/server/libjvm.so")
set(java_FOUND FALSE)
if(EXISTS "${java_library}" AND EXISTS "${java_home}/include/jni.h")
  set(java_FOUND TRUE)
  add_library(java_machine SHARED IMPORTED)
  set_target_properties(java_machine PROPERTIES
    IMPORTED_LOCATION ${java_library}
    INTERFACE_INCLUDE_DIRECTORIES "${java_home}/include;${java_home}/include/linux")
  set(java_classes ${CMAKE_CURRENT_BINARY_DIR}/java_classes)
  add_custom_command(
    OUTPUT ${java_classes}/Depth.class
    COMMAND ${GROWSTACK_JAVAC} -d ${java_classes} ${CMAKE_CURRENT_SOURCE_DIR}/neighbours/Depth.java
    DEPENDS neighbours/Depth.java)
  add_custom_target(java_classes DEPENDS ${java_classes}/Depth.class)
endif()
