"""A process whose sandbox is to be entered, and the way in.

Whoever is in there may be hostile. So all that has to be known is read before anything is entered, through a /proc that
can be trusted, and is about the one process that a pidfd holds on to. `join` then reads nothing and imports nothing.

Source: setns(2), pidfd_open(2), user_namespaces(7), capabilities(7).
"""

import os
import select
from errno import EACCES, ENOENT, EPERM, ESRCH

from nsinit.errors import KernelError, LaunchError
from nsinit.inspect import procfs
from nsinit.kernel import process
from nsinit.kernel.namespaces import NEWNS, NEWUSER, TYPES, names, setns


class Target:
    """The process whose sandbox is entered, and what has to be known of it beforehand.

    flags           the types of namespace (CLONE_NEW*) in which it differs from the caller
    has_root        whether its user namespace has a uid 0 and a gid 0
    may_set_groups  whether supplementary groups can be set there
    lacks           the capabilities that are not in its bounding set, but would be in the command's
    """

    __slots__ = ("flags", "has_root", "lacks", "may_set_groups", "no_new_privs", "pid", "pidfd", "root_fd")

    def __init__(self, pid: int) -> None:
        """Look at process `pid`. LaunchError when the caller may not, KernelError ESRCH when it has ended."""
        self.pid = pid
        self.root_fd = -1
        self.pidfd = process.pidfd_open(pid)
        try:
            self._look()
        except OSError as error:
            self.close()
            if error.errno not in (EACCES, EPERM):
                raise
            remedy = "only root and the owner of its user namespace may enter it, once it has executed its command"
            raise LaunchError("look at process", error.errno, str(pid), remedy) from None

    def _look(self) -> None:
        pid = self.pid
        status = procfs.read_status(pid)
        self.no_new_privs = status.no_new_privs
        self.flags = sum(flag for kind, flag in TYPES.items() if _differs(pid, kind))
        # Who enters a user namespace gets a full set.
        bounding = (2 << _last_capability()) - 1 if self.flags & NEWUSER else procfs.read_status("self").bounding
        self.lacks = [number for number in range(64) if bounding & ~status.bounding & 1 << number]
        maps = [procfs.read_file(pid, f"{kind}_map") for kind in ("uid", "gid")]
        self.has_root = all(any(line.split()[0] == b"0" for line in content.splitlines()) for content in maps)
        privileged = bool(self.flags & NEWUSER) or os.geteuid() == 0
        self.may_set_groups = privileged and procfs.read_file(pid, "setgroups").startswith(b"allow")
        self.root_fd = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        # All of this was read by number: it is about this process only if that one has lived until now.
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        if poller.poll(0):
            raise KernelError("enter", ESRCH, f"process {pid}", "it has ended")

    def close(self) -> None:
        """Let go of the process."""
        for fd in (self.pidfd, self.root_fd):
            if fd >= 0:
                os.close(fd)

    def join(self) -> None:
        """Enter its namespaces and its root, and make sure that nobody in there can look into the caller."""
        process.set_dumpable(0)
        if self.flags:
            try:
                setns(self.pidfd, self.flags)
            except KernelError as error:
                remedy = {EPERM: "only root and the owner of its user namespace may", ESRCH: "it has ended"}
                text = "+".join(names(self.flags))
                raise LaunchError("join namespaces", error.errno or 0, text, remedy.get(error.errno or 0, "")) from None
            process.set_dumpable(0)  # /proc/sys/fs/suid_dumpable decides what new credentials have made of it
        here, there = os.stat("/"), os.fstat(self.root_fd)
        if self.flags & NEWNS or (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino):
            os.fchdir(self.root_fd)
            os.chroot(".")
        os.chdir("/")


def _last_capability() -> int:
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        return int(file.read())


def _differs(pid: int, kind: str) -> bool:
    try:
        return procfs.ns_id(pid, kind) != procfs.ns_id("self", kind)
    except KernelError as error:
        if error.errno == ENOENT:
            return False  # the kernel has no such type
        raise
