// What is said before the soak dies, so that it can be repeated: the seed, what each thread did
// last, and what went wrong.
#pragma once

namespace growstack::soak {

/// Says what is wrong, what all workers did last, and aborts. In a forked child exits with code 99.
[[noreturn, gnu::format(printf, 1, 2)]] void wrong(const char* format, ...);

/// Has crashes say the same. The library must not be installed yet, because it shall forward what
/// is not its own.
void install_last_words();

/// Returns whether install_last_words() is in force for SIGSEGV.
[[nodiscard]] bool last_words_are_in_force();

/// Writes what all workers did last, where all threads wait, and the last line.
void tell_state_of_all();

/// Says that this is a forked child, whose crash says nothing.
void become_child();

}  // namespace growstack::soak
