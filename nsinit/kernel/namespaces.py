"""The eight namespace types, and the calls that make, enter and ask them.

Source: namespaces(7), unshare(2), setns(2), ioctl_ns(2).
"""

import fcntl

from nsinit.errors import KernelError
from nsinit.kernel.libc import call

NEWTIME = 0x00000080
NEWNS = 0x00020000
NEWCGROUP = 0x02000000
NEWUTS = 0x04000000
NEWIPC = 0x08000000
NEWUSER = 0x10000000
NEWPID = 0x20000000
NEWNET = 0x40000000

# The user's name of each type, in the order in which they are joined and listed.
TYPES = {
    "user": NEWUSER,
    "mount": NEWNS,
    "pid": NEWPID,
    "net": NEWNET,
    "uts": NEWUTS,
    "ipc": NEWIPC,
    "cgroup": NEWCGROUP,
    "time": NEWTIME,
}
ALL = sum(TYPES.values())

# The file of each type in /proc/PID/ns. Children of the caller may be elsewhere than the caller: see pid_for_children.
FILES = {
    "user": "user",
    "mount": "mnt",
    "pid": "pid",
    "net": "net",
    "uts": "uts",
    "ipc": "ipc",
    "cgroup": "cgroup",
    "time": "time",
}

NS_GET_USERNS = 0xB701
NS_GET_PARENT = 0xB702
NS_GET_NSTYPE = 0xB703
NS_GET_OWNER_UID = 0xB704


def names(flags: int) -> list[str]:
    """The names of the types in `flags`."""
    return [name for name, flag in TYPES.items() if flags & flag]


def unshare(flags: int) -> None:
    """Move the caller into new namespaces (pid and time: its next child).

    Raises:
        KernelError: EPERM without CAP_SYS_ADMIN or where the administrator forbids user namespaces; ENOSPC when a
            limit of /proc/sys/user is reached; EINVAL for a type that the kernel lacks.

    Source: unshare(2).
    """
    call("unshare", flags, path="+".join(names(flags)))


def setns(descriptor: int, flags: int) -> None:
    """Enter the namespace, or with a pidfd the namespaces, that `descriptor` stands for.

    Raises:
        KernelError: EPERM without CAP_SYS_ADMIN in the target's user namespace; EINVAL for another type than `flags`.

    Source: setns(2).
    """
    call("setns", descriptor, flags, path="+".join(names(flags)))


def namespace_type(descriptor: int) -> int:
    """The CLONE_NEW* flag of an open namespace; KernelError ENOTTY when it is no namespace.

    Source: ioctl_ns(2).
    """
    try:
        return fcntl.ioctl(descriptor, NS_GET_NSTYPE)
    except OSError as error:
        raise KernelError("ioctl NS_GET_NSTYPE", error.errno or 0) from None
