// The order in which objects of this library are made when the program is loaded: values for the
// attribute init_priority, which makes all of them before any static object of the program.
//
// Such objects are not local statics, because a child that is forked while another thread makes one
// would find it half made for ever. Handlers of pthread_atfork(3) that prepare for a fork run in
// the reverse order of their registration: so whoever takes a lock before another one comes later
// here.
#pragma once

namespace growstack::handler {

/// Smaller numbers come first; the compiler keeps those up to 100 for itself.
enum InitOrder : int {
  /// The lock of the handler library, keys of thread ends, facts about how the process started.
  init_foundations = 101,
  /// What is known of stacks and pools, and takes its lock before that of the handler library.
  init_registers = 102,
  /// What uses the registers, and takes its lock before theirs.
  init_dependents = 103,
};

}  // namespace growstack::handler
