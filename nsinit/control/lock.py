"""A lock file that says whether anyone who holds it still lives.

It is an open-file-description lock: it belongs to an open file, not to a process, so it passes forks and (on demand)
an exec, and the kernel drops it when the last process that has the file open is gone, however it ended. Unlike
flock's, such a lock can be asked about without being taken: a look never makes a start fail at the same moment.
Source: fcntl_locking(2).
"""

import fcntl
import os
import struct
from errno import EACCES, EAGAIN

# struct flock: type, whence, start, length, pid; start and length 0 mean the whole file.
_FLOCK = struct.Struct("hhqqi4x")
_WRITE_LOCK = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW


def acquire(path: str) -> int | None:
    """Make and lock the file, and the directory it lies in; None when someone else holds it.

    A holder may remove both: whoever finds that what it locked is no longer there starts again.

    Raises:
        OSError: the directory or the file can't be made.
    """
    while True:
        try:
            os.mkdir(os.path.dirname(path), 0o700)
        except FileExistsError:
            pass
        try:
            fd = os.open(path, _OPEN | os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            continue  # the one before has just removed the directory
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _WRITE_LOCK)
            if _is_at(fd, path):
                return fd
        except OSError as error:
            os.close(fd)
            if error.errno in (EAGAIN, EACCES):
                return None
            raise
        os.close(fd)


def is_held(path: str) -> bool:
    """Whether anybody holds the lock now.

    Raises:
        OSError: there is no such file, or it can't be read.
    """
    fd = os.open(path, _OPEN | os.O_RDONLY)
    try:
        kind, *_ = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _WRITE_LOCK))
        return bool(kind != fcntl.F_UNLCK)
    finally:
        os.close(fd)


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
