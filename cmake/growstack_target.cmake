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

# A library with its public headers in <folder>/include. A shared one exports what <exports>, a linker's version script, says;
# without it: all that is in namespace growstack, and visible.
function(growstack_target target folder)
  growstack_own_settings(${target})
  target_compile_options(${target} PRIVATE
    # Functions are bound when the program starts, not at their first call, which may be in a signal handler.
    -fno-plt
    # Position-independent code counts on nobody's replacing a function of ours, and so may inline it.
    -fno-semantic-interposition)
  set_target_properties(${target} PROPERTIES
    VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
    POSITION_INDEPENDENT_CODE ON  # the archive, too: it may become part of a plugin
    DEFINE_SYMBOL "")  # and so both are made of the same objects
  target_include_directories(${target} PRIVATE
    ${CMAKE_CURRENT_SOURCE_DIR}/${folder} ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/include)
  if(PROJECT_IS_TOP_LEVEL)
    target_include_directories(${target} INTERFACE $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/${folder}/include>)
  else()
    # Another project's warnings, which may be errors, are about its own code.
    target_compile_options(${target} PRIVATE -w)
    target_include_directories(${target} SYSTEM INTERFACE $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/${folder}/include>)
  endif()

  get_target_property(type ${target} TYPE)
  if(type STREQUAL SHARED_LIBRARY)
    set(exports ${CMAKE_CURRENT_BINARY_DIR}/growstack_exports.map)
    configure_file(${PROJECT_SOURCE_DIR}/cmake/exports.map.in ${exports} @ONLY)
    if(ARGC GREATER 2)
      set(exports ${ARGV2})
    endif()
    target_link_options(${target} PRIVATE
      LINKER:-z,nodelete  # a signal handler and threads cannot be taken out of a process
      LINKER:--version-script=${exports})
    set_target_properties(${target} PROPERTIES LINK_DEPENDS ${exports})
    if(NOT GROWSTACK_SANITIZER)  # whose functions are the program's
      target_link_options(${target} PRIVATE LINKER:-z,defs)
    endif()
  elseif(ARGC LESS 3)
    # A plugin with the archive inside keeps it to itself: its calls go to its own copy, whatever else is in the process.
    target_link_options(${target} INTERFACE LINKER:--exclude-libs,lib${target}.a)
  endif()
endfunction()
