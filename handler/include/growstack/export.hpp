// Which names a shared library of this project exports. The project is compiled with hidden
// visibility, so a name is exported only if its declaration says so.
#pragma once

/// Exports a function, a variable, or all out-of-line members of a class. It stands where an
/// attribute of the declaration may stand: `GROWSTACK_EXPORT int f();`, `class GROWSTACK_EXPORT C`.
/// A struct without out-of-line members needs it only if its typeinfo or its vtable must be one
/// object in the whole process, as the typeinfo of an exception must.
#define GROWSTACK_EXPORT [[gnu::visibility("default")]]

/// Keeps a name out of the exports of every program and library that includes its definition: a
/// member of an exported class, a class that only the library defines, or an inline function whose
/// body may change between versions.
#define GROWSTACK_LOCAL [[gnu::visibility("hidden")]]
