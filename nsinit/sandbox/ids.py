"""Which ids a new user namespace has, and how they get there.

Root keeps every id it has, under the same number. An ordinary user becomes root inside, and gets its subordinate
ranges as the ids from 1 on when newuidmap can grant them; otherwise it has that one id.

Source: user_namespaces(7), subuid(5), newuidmap(1).
"""

import os

from nsinit.errors import KernelError, LaunchError
from nsinit.kernel.process import pidfd_open
from nsinit.sandbox.passwd import read_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    Map = list[tuple[int, int, int]]

_HELPERS = ("/usr/bin", "/usr/sbin", "/bin", "/usr/local/bin")


def current_map(kind: str) -> "Map":
    """The caller's own ids, each mapped to itself: what "same" means in a nested user namespace."""
    with open(f"/proc/self/{kind}_map", "rb") as lines:
        extents = [tuple(map(int, line.split())) for line in lines]
    return [(first, first, count) for first, _, count in extents]


def subordinate_range(kind: str, uid: int) -> tuple[int, int] | None:
    """The caller's first (start, count) in /etc/subuid or /etc/subgid; None when there is none."""
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        names = {row[0] for row in read_table(root, "/etc/passwd", 7) if row[2] == b"%d" % uid} | {b"%d" % uid}
        for row in read_table(root, f"/etc/sub{kind}", 3):
            if row[0] in names and row[1].isdigit() and row[2].strip().isdigit():
                return int(row[1]), int(row[2])
    finally:
        os.close(root)
    return None


def find_helper(kind: str) -> str | None:
    """The path of newuidmap or newgidmap; None when it isn't installed."""
    paths = (f"{folder}/new{kind}map" for folder in _HELPERS)
    return next((path for path in paths if os.access(path, os.X_OK)), None)


def _own_id(kind: str) -> int:
    return os.geteuid() if kind == "uid" else os.getegid()


def _default_map(kind: str) -> "Map":
    if os.geteuid() == 0:
        return current_map(kind)
    extents = [(0, _own_id(kind), 1)]
    granted = subordinate_range(kind, os.geteuid())
    if granted and find_helper("uid") and find_helper("gid"):
        extents.append((1, *granted))
    return extents


class IdMaps:
    """The two maps of one new user namespace, and how they are written."""

    __slots__ = ("_optional", "gid", "uid")

    def __init__(self, uid: "Map | None", gid: "Map | None") -> None:
        self._optional = uid is None and gid is None and os.geteuid() != 0
        self.uid = _default_map("uid") if uid is None else uid
        self.gid = _default_map("gid") if gid is None else gid
        if self._optional and (len(self.uid) == 1 or len(self.gid) == 1):
            # Subordinate users without groups, or the other way round, help nobody.
            self.uid, self.gid = self.uid[:1], self.gid[:1]

    def write(self, pid: int) -> None:
        """Give process `pid`, which must wait in its new user namespace, its ids.

        Raises:
            LaunchError: EPERM when the caller may not map these ids, EINVAL for overlapping or empty ranges.
        """
        try:
            self._write(pid)
        except OSError as error:
            # The ranges are a bonus: a broken newuidmap (no setuid bit, a container) must not cost the sandbox.
            if not self._optional or len(self.uid) == 1:
                raise _map_error(error) from None
            self.uid, self.gid = self.uid[:1], self.gid[:1]
            try:
                self._write(pid)
            except OSError as second:
                raise _map_error(second) from None

    def _write(self, pid: int) -> None:
        pidfd = pidfd_open(pid)  # while it is ours, /proc/PID is this process and no other
        folder = -1
        try:
            folder = os.open(f"/proc/{pid}", os.O_DIRECTORY | os.O_RDONLY | os.O_CLOEXEC)
            for kind, extents in (("gid", self.gid), ("uid", self.uid)):
                self._write_one(kind, extents, pid, folder)
        finally:
            os.close(pidfd)
            if folder >= 0:
                os.close(folder)

    def _write_one(self, kind: str, extents: "Map", pid: int, folder: int) -> None:
        own_only = len(extents) == 1 and extents[0][1:] == (_own_id(kind), 1)
        if os.geteuid() != 0 and not own_only:
            _run_helper(kind, pid, extents)
            return
        if kind == "gid" and os.geteuid() != 0:
            _write_file(folder, "setgroups", b"deny")
        _write_file(folder, f"{kind}_map", b"".join(b"%d %d %d\n" % extent for extent in extents))


def _write_file(folder: int, name: str, content: bytes) -> None:
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KernelError("write", error.errno or 0, name) from None


def _run_helper(kind: str, pid: int, extents: "Map") -> None:
    path = find_helper(kind)
    if path is None:
        raise KernelError("find", 2, f"new{kind}map")
    arguments = [path, str(pid), *(str(number) for extent in extents for number in extent)]
    child = os.fork()
    if child == 0:
        try:
            null = os.open("/dev/null", os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            os.execve(path, arguments, {})
        finally:
            os._exit(127)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise KernelError(f"run new{kind}map (status {status})", 1, path)


def _map_error(error: OSError) -> LaunchError:
    path = error.path if isinstance(error, KernelError) else ""
    remedies = {
        1: "the caller may not map these ids: an ordinary user may map its own id, and the ranges that"
        " /etc/subuid and /etc/subgid grant it, through newuidmap (Debian's package uidmap)",
        22: "the ranges overlap, are empty, or name ids that this user namespace does not have",
    }
    return LaunchError("map ids", error.errno or 0, path, remedies.get(error.errno or 0, ""))
