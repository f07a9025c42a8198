# GROWSTACK_SPLIT_STACK_LINKER: which linker can link what gcc's -fsplit-stack makes; empty if none. ld.gold and ld.lld rewrite
# the prologues that call code without split stacks.
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

# The name of the linker is in the variable's, so that another linker is another check.
include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_FLAGS -fsplit-stack)
set(CMAKE_REQUIRED_LINK_OPTIONS -fuse-ld=${linker})
check_cxx_source_compiles("int main() { return 0; }" GROWSTACK_SPLIT_STACK_LINKS_WITH_${linker})
unset(CMAKE_REQUIRED_FLAGS)
unset(CMAKE_REQUIRED_LINK_OPTIONS)
if(GROWSTACK_SPLIT_STACK_LINKS_WITH_${linker})
  set(GROWSTACK_SPLIT_STACK_LINKER ${linker})
endif()
