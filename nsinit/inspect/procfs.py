"""What /proc tells about processes, parsed. Read-only, and bound to whichever /proc the caller sees.

A process may end between any two reads: a function about one process then raises KernelError ESRCH, one about many
leaves it out. Nothing here may be called after the root has changed: /proc could be anybody's then.

Source: proc(5).
"""

import os
from errno import ENOENT, ESRCH

from nsinit.errors import KernelError
from nsinit.kernel.namespaces import FILES


class ProcessStatus:
    """A part of /proc/PID/status, as the caller's namespaces show it.

    uids, gids          real, effective, saved, file system; 65534 where the caller's user namespace has no id for it
    ns_pids             the process's pid in the pid namespace of /proc and in each one nested below it, outermost first
    bounding            bit mask of the capability bounding set
    """

    __slots__ = ("bounding", "gids", "name", "no_new_privs", "ns_pids", "pid", "ppid", "state", "threads", "uids")

    def __init__(self, fields: dict[bytes, bytes]) -> None:
        self.name = os.fsdecode(fields[b"Name"])
        self.state = fields[b"State"][:1].decode("ascii")
        self.pid = int(fields[b"Pid"])
        self.ppid = int(fields[b"PPid"])
        self.uids = _numbers(fields[b"Uid"])
        self.gids = _numbers(fields[b"Gid"])
        self.ns_pids = _numbers(fields.get(b"NSpid", fields[b"Pid"]))
        self.threads = int(fields[b"Threads"])
        self.bounding = int(fields[b"CapBnd"], 16)
        self.no_new_privs = fields.get(b"NoNewPrivs") == b"1"


def _numbers(text: bytes) -> tuple[int, ...]:
    return tuple(map(int, text.split()))


def read_file(pid: int | str, name: str) -> bytes:
    """The content of /proc/PID/NAME.

    Raises:
        KernelError: ESRCH when the process has ended, EACCES when it is none of the caller's business.
    """
    path = f"/proc/{pid}/{name}"
    try:
        return _read(path)
    except OSError as error:
        raise _failure("read", error, path, pid) from None


def read_status(pid: int | str) -> ProcessStatus:
    """What /proc/PID/status says. KernelError ESRCH when there is no such process."""
    lines = (line.partition(b":") for line in read_file(pid, "status").split(b"\n"))
    return ProcessStatus({key: value.strip() for key, _, value in lines})


def ns_id(pid: int | str, kind: str) -> tuple[int, int]:
    """The (device, inode) that names the namespace of type `kind` ("user", "mount", ...) of process `pid` or "self".

    Raises:
        KernelError: ESRCH when the process has ended, ENOENT when this kernel has no such type, EACCES when the
            caller may not look.

    Source: namespaces(7), "The /proc/pid/ns/ directory".
    """
    path = f"/proc/{pid}/ns/{FILES[kind]}"
    try:
        found = os.stat(path)
    except OSError as error:
        # A process that ended but was not reaped still has the file, leading nowhere.
        if error.errno == ENOENT and os.path.lexists(f"/proc/self/ns/{FILES[kind]}"):
            error.errno = ESRCH
        raise _failure("look up", error, path, pid) from None
    return found.st_dev, found.st_ino


def parents() -> dict[int, int]:
    """The parent of every process that /proc shows, 0 where that is outside.

    /proc/PID/task/TID/children would be cheaper, but proc(5) promises a complete answer only while all children stand
    still: one that exits during the read can hide its sibling. A scan has one race of its own: a parent that ends
    between its child's turn and its own leaves the child pointing nowhere, so both are asked again.
    """
    table: dict[int, int] = {}
    loose: dict[int, int] = {}
    pending = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    while pending:
        for pid in pending:
            parent = _parent(pid)
            if parent is None:
                table.pop(pid, None)
            else:
                table[pid] = parent
        before, loose = loose, {pid: parent for pid, parent in table.items() if parent and parent not in table}
        # Parents first: if one is gone by then, its child has a new one; if nothing has changed, /proc hides it.
        pending = [*loose.values(), *loose] if loose != before else []
    return table


def children(pid: int, table: dict[int, int] | None = None) -> list[int]:
    """The children of `pid`, by pid; `table` is a result of `parents()`, or None for a new one."""
    table = parents() if table is None else table
    return sorted(child for child, parent in table.items() if parent == pid)


def descendants(pid: int, table: dict[int, int] | None = None) -> list[int]:
    """All processes below `pid`, breadth first; `table` as in `children`."""
    below: dict[int, list[int]] = {}
    for child, parent in sorted((parents() if table is None else table).items()):
        below.setdefault(parent, []).append(child)
    found = list(below.get(pid, ()))
    for process in found:  # grows while it is walked
        found.extend(below.get(process, ()))
    return found


def _parent(pid: int) -> int | None:
    try:
        content = _read(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name, in parentheses, may itself contain blanks and parentheses.
    return int(content[content.rindex(b")") + 1 :].split()[1])


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(descriptor, 65536):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(descriptor)


def _failure(verb: str, error: OSError, path: str, pid: int | str) -> KernelError:
    number = error.errno or 0
    if number == ENOENT and not os.path.isdir(f"/proc/{pid}"):
        number = ESRCH
    return KernelError(verb, number, path, "the process has ended" if number == ESRCH else "")
