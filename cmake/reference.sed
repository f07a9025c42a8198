# What Doxygen reads instead of a file. The comment at the head of a header describes the whole file,
# and README.md's links into the source tree become text.
1,/^#pragma once/s,^//( |$),///\1,
s,^#pragma once,/// \\file,
s,\[([^]]+)\]\([^h)][^)]*\),\1,g
