# What every library and program of this project has in common.

# Settings for our own sources: they do not reach a consumer.
function(growstack_own_settings target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES
    CXX_EXTENSIONS OFF
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON)
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
  if(PROJECT_IS_TOP_LEVEL)
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor
      -Wold-style-cast -Wcast-align -Woverloaded-virtual -Wnull-dereference
      # GCC 12 sees overlaps in the concatenation of strings that are none (GCC bug 105651).
      $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>)
    if(GROWSTACK_STRICT)
      target_compile_options(${target} PRIVATE -Werror)
    endif()
  endif()
  if(GROWSTACK_SANITIZER)
    # Instrumented code confuses GCC about what is initialised, in its own headers even.
    target_compile_options(${target} PRIVATE -fsanitize=${GROWSTACK_SANITIZER} -fno-omit-frame-pointer
      -Wno-maybe-uninitialized)
    target_link_options(${target} PRIVATE -fsanitize=${GROWSTACK_SANITIZER})
  endif()
endfunction()

# A library with its public headers in <folder>/include.
function(growstack_target target folder)
  growstack_own_settings(${target})
  # Functions are bound when the program starts, not at their first call, which may be in a signal handler.
  target_compile_options(${target} PRIVATE -fno-plt)
  set_target_properties(${target} PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  target_include_directories(${target}
    PUBLIC
      $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/${folder}/include>
      $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    PRIVATE
      ${CMAKE_CURRENT_SOURCE_DIR}/${folder})
endfunction()
