# The target growstack_reference: the API reference, in HTML, from the docstrings of the public
# headers. A public name without a docstring is an error.
find_package(Doxygen QUIET)
if(NOT DOXYGEN_FOUND)
  add_custom_target(growstack_reference
    COMMAND ${CMAKE_COMMAND} -E echo
      "Doxygen makes the API reference: install the package doxygen, and configure again"
    COMMAND ${CMAKE_COMMAND} -E false
    VERBATIM)
  return()
endif()

set(DOXYGEN_PROJECT_BRIEF ${PROJECT_DESCRIPTION})
set(DOXYGEN_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/reference)
set(DOXYGEN_STRIP_FROM_PATH lib/include handler/include .)
set(DOXYGEN_STRIP_FROM_INC_PATH lib/include handler/include)
set(DOXYGEN_USE_MDFILE_AS_MAINPAGE README.md)
set(DOXYGEN_WARN_AS_ERROR FAIL_ON_WARNINGS)
set(DOXYGEN_QUIET YES)
# Our docstrings are prose. The first sentence is the brief. Parameters and results are named
# within.
set(DOXYGEN_JAVADOC_AUTOBRIEF YES)
set(DOXYGEN_WARN_NO_PARAMDOC NO)
set(DOXYGEN_EXCLUDE_SYMBOLS growstack::detail growstack::detail::*)
set(DOXYGEN_HAVE_DOT NO)
set(DOXYGEN_SORT_MEMBER_DOCS NO)  # the headers' order, because they are read from the top
set(DOXYGEN_SHOW_INCLUDE_FILES NO)
set(DOXYGEN_GENERATE_TREEVIEW YES)
set(DOXYGEN_DISABLE_INDEX YES)
set(DOXYGEN_VERBATIM_HEADERS NO)
set(DOXYGEN_HTML_TIMESTAMP NO)
set(DOXYGEN_HIDE_FRIEND_COMPOUNDS YES)
# A signature is what a caller writes: not what a shared library exports.
set(DOXYGEN_MACRO_EXPANSION YES)
set(DOXYGEN_EXPAND_ONLY_PREDEF YES)
set(DOXYGEN_PREDEFINED GROWSTACK_EXPORT= GROWSTACK_LOCAL=)
set(DOXYGEN_FILTER_PATTERNS "*=sed -E -f ${CMAKE_CURRENT_SOURCE_DIR}/cmake/reference.sed")
doxygen_add_docs(growstack_reference README.md lib/include handler/include
  COMMENT "API reference: ${DOXYGEN_OUTPUT_DIRECTORY}/html/index.html")
