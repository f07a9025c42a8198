# Sets GROWSTACK_SPLIT_STACK_LINKER to the linker that can link what gcc's -fsplit-stack makes, or
# to nothing. Only ld.gold and ld.lld can: they rewrite the prologues of functions that call code
# without split stacks.
find_program(GROWSTACK_LD_GOLD ld.gold)
find_program(GROWSTACK_LD_LLD ld.lld)
set(GROWSTACK_SPLIT_STACK_LINKER "")
if(GROWSTACK_LD_GOLD)
  set(linker gold)
elseif(GROWSTACK_LD_LLD)
  set(linker lld)
else()
  return()
endif()

# The result is cached in a variable that has the linker's name in its own, so that another linker
# is checked again.
include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_FLAGS -fsplit-stack)
set(CMAKE_REQUIRED_LINK_OPTIONS -fuse-ld=${linker})
check_cxx_source_compiles("int main() { return 0; }" GROWSTACK_SPLIT_STACK_LINKS_WITH_${linker})
unset(CMAKE_REQUIRED_FLAGS)
unset(CMAKE_REQUIRED_LINK_OPTIONS)
if(GROWSTACK_SPLIT_STACK_LINKS_WITH_${linker})
  set(GROWSTACK_SPLIT_STACK_LINKER ${linker})
endif()
