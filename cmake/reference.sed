# What Doxygen is to read: the comment at the head of a header tells of the whole file, and the links of README.md into the source
# tree are text.
1,/^#pragma once/s,^//( |$),///\1,
s,^#pragma once,/// \\file,
s,\[([^]]+)\]\([^h)][^)]*\),\1,g
