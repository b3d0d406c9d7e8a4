"""The few system calls the tests need that Python does not offer everywhere.

Deliberately not `nsinit.kernel`: what checks the code must not depend on it.
"""

import ctypes
import os

CLONE_NEWNS = 0x00020000
IN_ATTRIB = 0x4
IN_CLOSE_WRITE = 0x8
IN_MODIFY = 0x2
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
MS_REC = 0x4000
MS_BIND = 0x1000
MS_PRIVATE = 1 << 18
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """unshare(2)."""
    _checked(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    result = _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), flags, options.encode())
    _checked(result, f"mount {target}")


def become_subreaper() -> None:
    """Adopt the orphans among this process's descendants."""
    _checked(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def inotify(path: str, mask: int) -> int:
    """An inotify descriptor that watches one path; the caller closes it."""
    inotify_fd = _checked(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), "inotify_init1")
    try:
        _checked(_libc.inotify_add_watch(inotify_fd, os.fsencode(path), mask), f"inotify_add_watch {path}")
    except OSError:
        os.close(inotify_fd)
        raise
    return inotify_fd
