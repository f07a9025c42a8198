// The order in which objects of this library are made when the program is loaded: values for the
// attribute init_priority, which makes all of them before any static object of the program.
//
// Such objects are not local statics, because a child that is forked while another thread makes one
// would find it half made for ever. Handlers of pthread_atfork(3) that prepare for a fork run in
// the reverse order of their registration. So if object A takes its lock before object B at a fork,
// A has the larger number.
#pragma once

namespace growstack::handler {

/// Values for the attribute init_priority. Smaller numbers come first. The compiler keeps those up
/// to 100 for itself.
enum InitOrder : int {
  /// Objects that use no others: the lock of the handler library, the keys that see threads end,
  /// facts about how the process started.
  init_foundations = 101,
  /// What is kept for later although nobody uses it. Its lock is taken before that of the handler
  /// library.
  init_shelves = 102,
  /// Registers of stacks and pools, which take their lock before those.
  init_registers = 103,
  /// Objects that use the registers, and take their lock before theirs.
  init_dependents = 104,
  /// The lock that is taken before all others.
  init_last = 105,
};

}  // namespace growstack::handler
