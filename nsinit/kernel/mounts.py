"""The mount calls by descriptor, and path resolution that can't leave a root.

A mount made here is first a descriptor (`new_filesystem`, `clone_tree`), is given its attributes while nobody can see
it, and only then attached: no window in which it is writable, and no path that could be swapped for a link.

Source: mount(2), open_tree(2), move_mount(2), fsopen(2), mount_setattr(2), openat2(2), pivot_root(2).
"""

import os

from nsinit.errors import KernelError
from nsinit.kernel import libc

MS_REC = 0x4000
MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 18, 1 << 19, 1 << 20
MNT_DETACH = 2

MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_EMPTY_PATH = 0x04, 0x40
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_CLOEXEC = 1
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x02, 0x10
_EAGAIN = 11
_RESOLVE_TRIES = 16


def set_propagation(path: str, flag: int) -> None:
    """Make the mount at `path` and all below it private, slave or shared (MS_*)."""
    libc.call("mount", None, os.fsencode(path), None, MS_REC | flag, None, path=path)


def clone_tree(path: str) -> int:
    """A detached copy of the mount tree at `path`, as a descriptor; a file makes a mount of that file."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE
    return libc.syscall(libc.OPEN_TREE, "open_tree", _AT_FDCWD, os.fsencode(path), flags, path=path)


def new_filesystem(kind: str, options: str = "", attributes: int = 0) -> int:
    """A new, detached file system, as a descriptor. `options` as in mount -o; `attributes` MOUNT_ATTR_*.

    Raises:
        KernelError: EPERM when this user namespace may not mount that kind, EINVAL for an unknown option.
    """
    context = libc.syscall(libc.FSOPEN, "fsopen", kind.encode(), _CLOEXEC, path=kind)
    try:
        for option in (f"source={kind}", *filter(None, options.split(","))):
            key, separator, value = option.partition("=")
            command = _FSCONFIG_SET_STRING if separator else _FSCONFIG_SET_FLAG
            text = os.fsencode(value) if separator else None
            libc.syscall(libc.FSCONFIG, "fsconfig", context, command, key.encode(), text, 0, path=f"{kind} {option}")
        libc.syscall(libc.FSCONFIG, "fsconfig", context, _FSCONFIG_CMD_CREATE, None, None, 0, path=kind)
        return libc.syscall(libc.FSMOUNT, "fsmount", context, _CLOEXEC, attributes, path=kind)
    finally:
        os.close(context)


def set_read_only(tree: int, path: str) -> None:
    """Make the mount `tree` and all mounts below it read-only; `path` is for the message."""
    attributes = MOUNT_ATTR_RDONLY.to_bytes(8, "little").ljust(32, b"\0")
    flags = _AT_EMPTY_PATH | _AT_RECURSIVE
    libc.syscall(
        libc.MOUNT_SETATTR, "mount_setattr", tree, b"", flags, libc.buffer(attributes), len(attributes), path=path
    )


def attach(tree: int, target: int, path: str) -> None:
    """Attach a detached mount on top of the open file or directory `target`; `path` is for the message."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
    libc.syscall(libc.MOVE_MOUNT, "move_mount", tree, b"", target, b"", flags, path=path)


def open_inside(root: int, path: str, flags: int = os.O_PATH) -> int:
    """Open `path` with `root` as the root directory: no link, `..` or magic link leads outside.

    Raises:
        KernelError: ENOENT, ELOOP, ...

    Source: openat2(2), RESOLVE_IN_ROOT.
    """
    return _openat2(root, path, flags, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)


def open_plainly(path: str, flags: int) -> int:
    """Open `path` as open(2) does, but through no magic link (/proc/PID/exe, /proc/PID/fd/N).

    Raises:
        KernelError: ELOOP when there is one on the way, or too many links.

    Source: openat2(2), RESOLVE_NO_MAGICLINKS.
    """
    return _openat2(_AT_FDCWD, path, flags, _RESOLVE_NO_MAGICLINKS)


def _openat2(folder: int, path: str, flags: int, resolve: int) -> int:
    how = (flags | os.O_CLOEXEC).to_bytes(8, "little") + bytes(8) + resolve.to_bytes(8, "little")
    for attempt in range(_RESOLVE_TRIES):
        try:
            return libc.syscall(libc.OPENAT2, "open", folder, os.fsencode(path), libc.buffer(how), len(how), path=path)
        except KernelError as error:
            # A rename elsewhere made ".." unsafe for an instant.
            if error.errno != _EAGAIN or attempt == _RESOLVE_TRIES - 1:
                raise
    raise AssertionError("unreachable")


def pivot_root_here() -> None:
    """Make the working directory, which must be a mount, the root, and detach the old root from it.

    Source: pivot_root(2), "pivot_root(".", ".")".
    """
    libc.syscall(libc.pivot_root_number(), "pivot_root", b".", b".", path=".")
    libc.call("umount2", b".", MNT_DETACH, path="the old root")
    os.chdir("/")


def set_hostname(name: str) -> None:
    """Set the hostname of the caller's uts namespace."""
    encoded = os.fsencode(name)
    libc.call("sethostname", encoded, len(encoded), path=name)
