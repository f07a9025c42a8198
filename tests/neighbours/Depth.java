// What the test java.cpp runs in the virtual machine.
class Depth {
  static int reached;

  static native int descendNatively(int frames);

  static int recurse(int frames) {
    reached = frames;
    return recurse(frames + 1) + 1;
  }

  /** Overflows the stack once, and returns how many frames it had. */
  static int overflow() {
    try {
      return recurse(0);
    } catch (StackOverflowError error) {
      return reached;
    }
  }
}
