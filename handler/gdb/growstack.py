# Long because all of it is one file, so that one file is sourced, copied and installed.
"""growstack in gdb:  source growstack.py

Growth faults of growstack's stacks pass on to the program, as if they were page faults of the
kernel. Every other SIGSEGV and SIGBUS stops at a catchpoint. For an overflow, one line names the
stack.

    growstack stacks [-limit N]   lists the live stacks, first those on which a thread runs now
    growstack stack [ADDRESS]     describes the stack that an address lies in; without an address,
                                  the stack of the selected thread

This works on live processes and on core dumps, without debug information and on stripped programs.
All that the script knows comes from handler/process/debugger.hpp, which each copy of the library
carries in a section of its own. The script reads memory and calls no function of the program. The
numbers are what the fault handler knows. It does not know how deep the kernel grew a stack on its
own.
"""

import re
import struct

import gdb

SECTION = "growstack_debugger"
MAGIC = b"growstack debug\0"
VERSION = 1
HEAD = struct.Struct("<16sIIQQIIII")
RANGE_MEMBERS = ("first_slot", "slot_size", "slot_count", "slots", "committer", "kind")
SLOT_MEMBERS = (
    "base",
    "floor",
    "guard",
    "limit",
    "high_water",
    "largest_step",
    "generation",
    "growth_faults",
    "growth",
    "name",
)
PAGE = 4096  # the unit in which a core dump has memory or not
BLOCK = 1 << 20

# The values of Growth in <growstack/handler/slot.hpp>.
BY_FAULT, BY_BUS_ERROR, BY_MONITOR, BY_KERNEL = range(4)

SIGBUS, SIGSEGV = 7, 11
SI_KERNEL = 0x80
SEGV_MAPERR, SEGV_ACCERR, BUS_ADRERR = 1, 2, 2
AT_MINSIGSTKSZ = 51
UNTOLD_FRAME_BYTES = 2048  # as in handler/machine/x86_64.hpp


# ---- memory --------------------------------------------------------------------------------------


def read(address, size):
    """Returns memory. Raises gdb.MemoryError if not all of it is there."""
    return bytes(gdb.selected_inferior().read_memory(address, size))


def read_sparse(address, size):
    """Returns memory, with zeros for what is not there.

    A core dump leaves out what was never written to.
    """
    try:
        return read(address, size)
    except gdb.MemoryError:
        if size <= PAGE:
            return bytes(size)
    half = max(PAGE, size // 2 // PAGE * PAGE)
    return read_sparse(address, half) + read_sparse(address + half, size - half)


def blocks(address, size):
    for offset in range(0, size, BLOCK):
        yield offset, read_sparse(address + offset, min(BLOCK, size - offset))


def text_at(address, most=64):
    text = b""
    try:
        while len(text) < most and (letter := read(address + len(text), 1)) != b"\0":
            text += letter
    except gdb.MemoryError:
        pass
    return text.decode(errors="replace")


class Members:
    """Some members of a structure of the library: a number each, or bytes."""

    def __init__(self, names, places):
        self.places = dict(zip(names, places))
        self.size = max(offset + size for offset, size in places)

    def decode(self, data):
        def value(offset, size):
            member = data[offset : offset + size]
            return int.from_bytes(member, "little") if size <= 8 else member

        return {name: value(*place) for name, place in self.places.items()}


# ---- stacks --------------------------------------------------------------------------------------


class Range:
    """Address space that is cut into slots."""

    def __init__(self, copy, address):
        members = copy.range.decode(read(address, copy.range.size))
        self.copy = copy
        self.first_slot = members["first_slot"]
        self.slot_size = members["slot_size"]
        self.slot_count = members["slot_count"]
        self.slots = members["slots"]
        self.kind = text_at(members["kind"]) or "-"

    def record_at(self, index):
        size = self.copy.slot_record_size
        return read(self.slots + index * size, size)

    def live_records(self):
        """Yields the records of live slots.

        Reads a few thousand at a time, because there may be a million.
        """
        size = self.copy.slot_record_size
        generation = self.copy.slot.places["generation"][0] // 4
        for _, data in blocks(self.slots, self.slot_count * size):
            generations = memoryview(data).cast("I")[generation :: size // 4].tolist()
            for index, each in enumerate(generations):
                if each & 1:
                    yield data[index * size : (index + 1) * size]

    def stack_with(self, address):
        """Returns the live stack whose slot contains the address, or None."""
        index = (address - self.first_slot) // self.slot_size
        if 0 <= index < self.slot_count:
            stack = Stack(self, self.record_at(index))
            if stack.generation & 1 and stack.guard <= address < stack.base:
                return stack
        return None

    def stack_above(self, address):
        """Returns the live stack in the next slot above that of the address, or None."""
        index = (address - self.first_slot) // self.slot_size + 1
        return self.stack_with(self.first_slot + (index + 1) * self.slot_size - 1)

    def is_vacant(self, address):
        index = (address - self.first_slot) // self.slot_size
        return 0 <= index < self.slot_count and self.stack_with(address) is None


class Stack:
    def __init__(self, in_range, record):
        self.range = in_range
        self.__dict__.update(in_range.copy.slot.decode(record))
        self.name = self.name.split(b"\0")[0].decode(errors="replace")

    def holds(self, stack_pointer):
        return self.guard <= stack_pointer <= self.base


class Copy:
    """One copy of the library in the process: the program's, or a plugin's."""

    def __init__(self, address):
        head = HEAD.unpack(read(address, HEAD.size))
        magic, version, size, self.table_word, self.table_entries, self.range_shift = head[:6]
        self.slot_record_size, self.reach_below_stack_pointer, self.red_zone_bytes = head[6:]
        self.is_known = magic == MAGIC and version == VERSION
        if not self.is_known:
            if magic == MAGIC:
                gdb.write(
                    "growstack: the program's library describes itself by version %d, this script "
                    "knows %d: use the script that was installed with it\n" % (version, VERSION),
                    gdb.STDERR,
                )
            return
        places = list(struct.iter_unpack("<HH", read(address + HEAD.size, size - HEAD.size)))
        of_range, of_slot = places[: len(RANGE_MEMBERS)], places[len(RANGE_MEMBERS) :]
        self.range = Members(RANGE_MEMBERS, of_range)
        self.slot = Members(SLOT_MEMBERS, of_slot[: len(SLOT_MEMBERS)])

    def table(self):
        try:
            return int.from_bytes(read(self.table_word, 8), "little")
        except gdb.MemoryError:
            return 0  # not relocated yet: nothing of the program has run

    def range_with(self, address):
        table = self.table()
        index = address >> self.range_shift
        if table == 0 or index >= self.table_entries:
            return None
        entry = int.from_bytes(read_sparse(table + 8 * index, 8), "little")
        return Range(self, entry) if entry else None

    def ranges(self):
        table = self.table()
        seen = set()
        nothing = bytes(PAGE)
        for _, data in blocks(table, 8 * self.table_entries) if table else ():
            for begin in range(0, len(data), PAGE):
                page = data[begin : begin + PAGE]
                for entry in memoryview(page).cast("Q") if page != nothing else ():
                    if entry and entry not in seen:
                        seen.add(entry)
                        yield Range(self, entry)


def descriptions():
    """Returns the addresses of the descriptions in all that is loaded.

    It finds them by section, because symbols may be stripped, and because gdb shows only one of the
    symbols that have the same name.
    """
    listing = gdb.execute("info files", to_string=True)
    found = re.findall(r"(0x[0-9a-f]+) - 0x[0-9a-f]+ is " + SECTION + r"\b", listing)
    return sorted({int(begin, 16) for begin in found})


class Found:
    """What descriptions() found, until something is loaded or the process ends."""

    addresses = None

    @classmethod
    def forget(cls, *_):
        cls.addresses = None


for event in ("new_objfile", "clear_objfiles", "free_objfile", "exited", "new_inferior"):
    if hasattr(gdb.events, event):
        getattr(gdb.events, event).connect(Found.forget)


def copies():
    if gdb.selected_thread() is None:
        raise gdb.GdbError(
            "The program is not being run: growstack's stacks are there once it runs, or in a core "
            "dump."
        )
    if not Found.addresses:
        Found.addresses = descriptions()
    found = []
    for address in Found.addresses:
        try:
            found.append(Copy(address))
        except gdb.MemoryError:
            pass  # unloaded, or not relocated yet
    return [copy for copy in found if copy.is_known]


def need_copies():
    found = copies()
    if not found:
        raise gdb.GdbError(
            "No growstack in this program (no section %s): it is not linked, not loaded yet, or "
            "older than this script." % SECTION
        )
    return found


def look_up(address):
    """Returns (range, live stack) of an address, each None if there is none."""
    in_range = None
    for copy in copies():
        found = copy.range_with(address)
        if found is not None:
            in_range = found
            stack = found.stack_with(address)
            if stack is not None:
                return found, stack
    return in_range, None


def all_stacks(found):
    for copy in found:
        for in_range in copy.ranges():
            for record in in_range.live_records():
                yield in_range, record


# ---- faults --------------------------------------------------------------------------------------


class Fault:
    """The fault of the selected thread, which a SIGSEGV or SIGBUS has just stopped."""

    def __init__(self):
        info = gdb.parse_and_eval("$_siginfo")
        self.signal = int(info["si_signo"])
        self.code = int(info["si_code"])
        self.address = int(info["_sifields"]["_sigfault"]["si_addr"]) & (2**64 - 1)
        frame = gdb.newest_frame()
        self.stack_pointer = register(frame, "sp")
        self.program_counter = register(frame, "pc")

    def may_be_lost_signal_frame(self):
        return self.signal == SIGSEGV and self.code == SI_KERNEL and self.address == 0

    def is_touch(self):
        if self.signal == SIGBUS:
            return self.code == BUS_ADRERR
        return self.code in (SEGV_MAPERR, SEGV_ACCERR)


def register(frame, name):
    return int(frame.read_register(name)) & (2**64 - 1)


def is_native():
    """Returns whether /proc is that of the process."""
    connection = getattr(gdb.selected_inferior(), "connection", None)
    return connection is not None and connection.type == "native"


def is_writable(address):
    """Returns whether an address is in a writable mapping; True if the process runs elsewhere."""
    if not is_native():
        return True
    try:
        with open("/proc/%d/maps" % gdb.selected_inferior().pid) as maps:
            for line in maps:
                begin, end, protection = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
                if int(begin, 16) <= address < int(end, 16):
                    return protection.startswith("rw")
    except OSError:
        return True
    return False


def will_be_caught(signal):
    """Returns whether the selected thread still has a handler for the signal.

    The library gives its own up for the last fault.
    """
    if not is_native():
        return True
    try:
        with open("/proc/%d/status" % gdb.selected_thread().ptid[1]) as status:
            pattern = r"^(SigBlk|SigCgt):\s*([0-9a-f]+)$"
            masks = dict(re.findall(pattern, status.read(), re.MULTILINE))
    except OSError:
        return True
    bit = 1 << (signal - 1)
    return bool(int(masks["SigCgt"], 16) & bit) and not int(masks["SigBlk"], 16) & bit


def signal_frame_bytes(copy):
    vector = gdb.execute("info auxv", to_string=True)
    told = re.search(r"^%d\s.*\s(\S+)$" % AT_MINSIGSTKSZ, vector, re.MULTILINE)
    return copy.red_zone_bytes + (int(told.group(1), 0) if told else UNTOLD_FRAME_BYTES)


def address_to_judge_by(fault):
    """Returns an address in the stack by which the fault is judged.

    As handler/fault/running_stack.cpp does; but a stack that was left by a frame larger than its
    guard is found only if the stack pointer is in a vacant slot.
    """
    if fault.may_be_lost_signal_frame():
        return fault.stack_pointer - 1
    in_range, own = look_up(fault.stack_pointer - 1)
    if in_range is not None and own is None:
        own = in_range.stack_above(fault.stack_pointer)
    if own is None or fault.address >= own.floor:
        return fault.address
    reach = in_range.copy.reach_below_stack_pointer
    is_below_own = fault.address + reach >= fault.stack_pointer
    return own.base - 1 if is_below_own and is_end_of(own, fault) else fault.address


def is_end_of(own, fault):
    """Returns whether a touch below the floor of the running stack is the end of that stack."""
    if own.guard <= fault.address:
        return True
    is_used_up = own.limit <= own.floor or fault.stack_pointer < own.floor
    in_range, there = look_up(fault.address)
    if there is not None:
        return is_used_up and fault.address < there.limit
    return in_range is not None or is_used_up


def classify(fault):
    """Returns ("passes" | "overflow" | "foreign", stack).

    It decides as classify() in handler/fault/classify.cpp does, as far as that can be known before
    the signal is there. classify() reads from the error code whether a page was present; here the
    mapping is asked.
    """
    no_address = fault.may_be_lost_signal_frame()
    in_range, stack = look_up(address_to_judge_by(fault))
    if stack is None:
        return "foreign", None
    here = stack.holds(fault.stack_pointer)
    copy = in_range.copy
    if no_address:
        has_room = fault.stack_pointer >= stack.limit + signal_frame_bytes(copy)
        if not here or stack.growth == BY_KERNEL or has_room:
            return "foreign", None
        return ("passes" if stack.limit > stack.floor else "overflow"), stack
    in_guard = fault.address < stack.floor
    raises = SIGBUS if stack.growth == BY_BUS_ERROR else SIGSEGV
    signal_matches_growth = (
        fault.signal == raises
        or (in_guard and fault.signal == SIGSEGV)
        or fault.address < stack.guard
    )
    is_execution = fault.address == fault.program_counter
    if not fault.is_touch() or not signal_matches_growth or is_execution:
        return "foreign", None
    if fault.address >= stack.limit:
        # Another thread committed it meanwhile, or it was given back to the kernel. In neither case
        # does the mapping forbid the access.
        grows = stack.growth in (BY_FAULT, BY_BUS_ERROR)
        return ("passes" if grows and is_writable(fault.address) else "foreign"), stack
    ran_past_guard = fault.stack_pointer < stack.guard and in_range.is_vacant(fault.stack_pointer)
    runs_here = here or ran_past_guard
    lowest_touch = fault.stack_pointer - copy.reach_below_stack_pointer
    own_frame = runs_here and fault.address >= lowest_touch
    if stack.growth == BY_MONITOR and not in_guard:
        return "foreign", stack
    if in_guard or stack.growth == BY_KERNEL:
        return ("overflow" if own_frame else "foreign"), stack
    near_the_limit = fault.address + stack.largest_step >= stack.limit
    passes = own_frame or (not runs_here and near_the_limit)
    return ("passes" if passes else "foreign"), stack


def say_overflow(stack, fault):
    reserved, committed = stack.base - stack.floor, stack.base - stack.limit
    gdb.write(
        'growstack: stack overflow: stack "%s" (%s), reserved %d bytes, committed %d'
        % (stack.name, stack.range.kind, reserved, committed)
    )
    gdb.write(", fault address %#x, stack pointer %#x\n" % (fault.address, fault.stack_pointer))


class Stops(gdb.Function):
    """$_growstack_stops(): returns 0 for a fault by which a stack of growstack grows.

    It is the condition of the catchpoint.
    """

    def __init__(self):
        super().__init__("_growstack_stops")

    def invoke(self):
        fault = Fault()
        outcome, stack = classify(fault)
        if outcome == "passes" and will_be_caught(fault.signal):
            return 0
        if outcome == "overflow":
            say_overflow(stack, fault)
        elif outcome == "passes":
            gdb.write(
                'growstack: stack "%s" could not grow, and nobody handles the fault any more\n'
                % stack.name
            )
        return 1


class Catchpoint:
    """Catches the signals that the condition picks.

    gdb is told to let all others pass, because growth must not even be printed.
    """

    number = None

    @classmethod
    def set(cls):
        earlier = gdb.convenience_variable("growstack_catchpoint")  # sourced once more
        if earlier is not None:
            gdb.execute("delete %d" % int(earlier), to_string=True)
        gdb.execute("handle SIGSEGV SIGBUS nostop noprint pass", to_string=True)
        gdb.execute("catch signal SIGSEGV SIGBUS", to_string=True)
        cls.number = int(gdb.convenience_variable("bpnum"))
        gdb.set_convenience_variable("growstack_catchpoint", cls.number)
        gdb.execute("condition %d $_growstack_stops()" % cls.number, to_string=True)

    @classmethod
    def deleted(cls, breakpoint):
        """Stops at signals again after the user deleted it, so that no crash passes unseen."""
        if breakpoint.number == cls.number:
            cls.number = None
            gdb.set_convenience_variable("growstack_catchpoint", None)
            gdb.execute("handle SIGSEGV SIGBUS stop print pass", to_string=True)
            gdb.write("growstack: its catchpoint is gone, and gdb stops at growth faults again\n")


# ---- commands ------------------------------------------------------------------------------------


def stack_pointers():
    """Returns (stack pointer, thread) of each thread of the process."""
    selected = gdb.selected_thread()
    frame = gdb.selected_frame()
    found = []
    try:
        for thread in sorted(gdb.selected_inferior().threads(), key=lambda each: each.num):
            if not thread.is_running():
                thread.switch()
                found.append((register(gdb.newest_frame(), "sp"), thread))
    finally:
        selected.switch()
        frame.select()
    return found


def runners(stack, pointers):
    here = [str(thread.num) for pointer, thread in pointers if stack.holds(pointer)]
    return ", ".join(here) or "-"


HEADINGS = (
    "base",
    "limit",
    "floor",
    "reserved",
    "committed",
    "high water",
    "faults",
    "strategy",
    "thread",
    "name",
)
LINE = "%-14s  %-14s  %-14s  %13s  %13s  %13s  %6s  %-18s  %6s  %s\n"


def row(stack, pointers):
    return (
        "%#x" % stack.base,
        "%#x" % stack.limit,
        "%#x" % stack.floor,
        stack.base - stack.floor,
        stack.base - stack.limit,
        "-" if stack.growth == BY_KERNEL else stack.base - stack.high_water,
        stack.growth_faults,
        stack.range.kind,
        runners(stack, pointers),
        stack.name,
    )


class Growstack(gdb.Command):
    """Stacks that grow by fault."""

    def __init__(self):
        super().__init__("growstack", gdb.COMMAND_STATUS, prefix=True)


class ListStacks(gdb.Command):
    """growstack stacks [-limit N]: lists the live stacks of growstack.
Sizes are in bytes. Stacks on which a thread runs come first, then the others in the order of their
addresses, 100 in all, or N. -limit 0 lists all. Idle stacks of a pool are live as well. Stacks of
the strategy heap are not known."""

    def __init__(self):
        super().__init__("growstack stacks", gdb.COMMAND_STATUS)

    @staticmethod
    def limit_of(argument):
        match = re.fullmatch(r"(?:(?:--?limit(?:\s+|=))?(\d+))?", argument.strip())
        if match is None:
            raise gdb.GdbError("Usage: growstack stacks [-limit N]")
        return int(match.group(1)) if match.group(1) is not None else 100

    def invoke(self, argument, from_tty):
        limit = self.limit_of(argument)
        found = need_copies()
        pointers = stack_pointers()
        running = {}
        for pointer, _ in pointers:
            _, stack = look_up(pointer - 1)
            if stack is not None:
                running[stack.base] = stack
        lines = list(running.values())
        count = 0
        for in_range, record in all_stacks(found):
            count += 1
            # Those on which a thread runs are in already. Decoding a million takes longer than
            # counting them.
            if not limit or len(lines) < limit:
                stack = Stack(in_range, record)
                if stack.base not in running:
                    lines.append(stack)
        if count == 0:
            gdb.write("No live stacks.\n")
            return
        lines = lines[: limit or None]
        gdb.write(LINE % HEADINGS)
        for stack in lines:
            gdb.write(LINE % row(stack, pointers))
        if count > len(lines):
            gdb.write("%d more: growstack stacks -limit %d\n" % (count - len(lines), count))


class TellStack(gdb.Command):
    """growstack stack [ADDRESS]: describes the stack that an address lies in.
ADDRESS is any expression. Without one, it is the stack pointer of the selected thread."""

    def __init__(self):
        super().__init__("growstack stack", gdb.COMMAND_STATUS, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument, from_tty):
        need_copies()
        if argument.strip():
            address = int(gdb.parse_and_eval(argument)) & (2**64 - 1)
        else:
            address = register(gdb.newest_frame(), "sp") - 1
        in_range, stack = look_up(address)
        if stack is None:
            where = (
                "it lies between growstack's stacks"
                if in_range
                else "it is none of growstack's addresses"
            )
            raise gdb.GdbError("No stack contains %#x: %s." % (address, where))
        if address >= stack.limit:
            part = "committed"
        elif address >= stack.floor:
            part = "not committed yet: a touch there is growth"
        else:
            part = "in the guard"
        gdb.write(
            '%#x is %d bytes below the base of stack "%s": %s\n'
            % (address, stack.base - address, stack.name, part)
        )
        for heading, value in zip(HEADINGS, row(stack, stack_pointers())):
            gdb.write("  %-10s  %s\n" % (heading, value))


Growstack()
ListStacks()
TellStack()
Stops()
Catchpoint.set()
if hasattr(gdb.events, "breakpoint_deleted"):
    gdb.events.breakpoint_deleted.connect(Catchpoint.deleted)
