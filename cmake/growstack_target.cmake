# Build settings that the libraries and programs of this project share.

# growstack_own_settings(<target>): settings for our own sources. They do not reach a consumer.
function(growstack_own_settings target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES
    CXX_EXTENSIONS OFF
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON)
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
  if(PROJECT_IS_TOP_LEVEL)
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
      -Wnon-virtual-dtor -Wold-style-cast -Wcast-align -Woverloaded-virtual -Wnull-dereference
      # GCC 12 warns of overlaps in the concatenation of strings, where there are none (GCC bug
      # 105651).
      $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>)
    if(GROWSTACK_STRICT)
      target_compile_options(${target} PRIVATE -Werror)
    endif()
  endif()
  if(GROWSTACK_SANITIZER)
    # In instrumented code, GCC takes initialised variables for uninitialised ones, even in its own
    # headers.
    target_compile_options(${target} PRIVATE -fsanitize=${GROWSTACK_SANITIZER}
      -fno-omit-frame-pointer -Wno-maybe-uninitialized)
    target_link_options(${target} PRIVATE -fsanitize=${GROWSTACK_SANITIZER})
  endif()
endfunction()

# growstack_target(<target> <folder> [<exports>]): settings for a library whose sources are in
# <folder>. <exports> is a version script for the linker. It says what the shared library exports.
# Without it, the library exports what is visible and in namespace growstack.
function(growstack_target target folder)
  growstack_own_settings(${target})
  target_compile_options(${target} PRIVATE
    # Functions are bound when the program starts. Their first call may be in a signal handler.
    -fno-plt
    # Position-independent code assumes that nobody replaces our functions, so it may inline them.
    -fno-semantic-interposition)
  set_target_properties(${target} PROPERTIES
    VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
    # The archive is position-independent because it may become part of a plugin. With no symbol
    # for shared builds, archive and shared library are made of the same objects.
    POSITION_INDEPENDENT_CODE ON
    DEFINE_SYMBOL "")
  target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/${folder})

  if(BUILD_SHARED_LIBS)
    set(exports ${CMAKE_CURRENT_BINARY_DIR}/growstack_exports.map)
    configure_file(${PROJECT_SOURCE_DIR}/cmake/exports.map.in ${exports} @ONLY)
    if(ARGC GREATER 2)
      set(exports ${ARGV2})
    endif()
    target_link_options(${target} PRIVATE
      LINKER:-z,nodelete  # a process cannot lose its signal handler and its threads
      LINKER:--version-script=${exports})
    set_target_properties(${target} PROPERTIES LINK_DEPENDS ${exports})
    if(NOT GROWSTACK_SANITIZER)  # the program brings the sanitizer's functions
      target_link_options(${target} PRIVATE LINKER:-z,defs)
    endif()
  elseif(ARGC LESS 3)
    # A plugin that contains the archive does not export it. So the plugin's calls go to its own
    # copy, whatever else is in the process.
    target_link_options(${target} INTERFACE LINKER:--exclude-libs,lib${target}.a)
  endif()
endfunction()
