"""The one seam to the C library.

Everything above speaks of `setns` and `mount`; only this module speaks of ctypes. Calls without a glibc wrapper go by
number: those from 424 on have the same number on every architecture, older ones are listed by machine.
"""

import ctypes
import os

from nsinit.errors import KernelError

TYPE_CHECKING = False  # typing costs 9 ms at start-up
if TYPE_CHECKING:
    from collections.abc import Callable

    Argument = int | bytes | None | ctypes.Array[ctypes.c_char] | ctypes._CArgObject

# Looked up once: a lookup makes a new object, and writes to pages that a forked init would then own alone.
_libc = ctypes.CDLL(None, use_errno=True)
_FUNCTIONS = {
    name: _libc[name] for name in ("mount", "prctl", "sethostname", "setns", "signalfd", "umount2", "unshare")
}
_SYSCALL = _libc.syscall
_SYSCALL.restype = ctypes.c_long
# For clone: the interpreter's lock stays held across the call, as if nothing had happened in between.
_SYSCALL_LOCKED = ctypes.PyDLL(None, use_errno=True).syscall
_SYSCALL_LOCKED.restype = ctypes.c_long

_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "i686": 217, "armv7l": 218, "ppc64le": 203, "s390x": 217}
PIDFD_SEND_SIGNAL = 424
OPEN_TREE = 428
MOVE_MOUNT = 429
FSOPEN = 430
FSCONFIG = 431
FSMOUNT = 432
PIDFD_OPEN = 434
CLONE3 = 435
CLOSE_RANGE = 436
OPENAT2 = 437
MOUNT_SETATTR = 442


def pivot_root_number() -> int:
    """The system call number of pivot_root on this machine."""
    return _PIVOT_ROOT[os.uname().machine]


def _checked(function: "Callable[..., int]", name: str, arguments: "tuple[Argument, ...]", path: str) -> int:
    # ctypes passes a bare int as 32 bits, sign-extended: all that is passed here fits (0xFFFFFFFF as unsigned int).
    result = function(*arguments)
    if result < 0:
        raise KernelError(name, ctypes.get_errno(), path)
    return result


def call(name: str, *arguments: "Argument", path: str = "") -> int:
    """Call the C library's function `name`; a negative result raises KernelError naming `path`."""
    return _checked(_FUNCTIONS[name], name, arguments, path)


def syscall(number: int, name: str, *arguments: "Argument", path: str = "") -> int:
    """Make system call `number`; a negative result raises KernelError naming `name` and `path`."""
    return _checked(_SYSCALL, name, (number, *arguments), path)


class CloneArguments(ctypes.Structure):
    """struct clone_args, as of Linux 5.3; source: clone(2)."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in ("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls")
    )
    flags: int


CLONE_ARGUMENTS_SIZE = ctypes.sizeof(CloneArguments)


reference = ctypes.byref


def clone(arguments: CloneArguments, path: str) -> int:
    """Make the clone3 system call in this single-threaded process; returns twice, as fork does."""
    return _checked(_SYSCALL_LOCKED, "clone3", (CLONE3, ctypes.byref(arguments), CLONE_ARGUMENTS_SIZE), path)


# The bare calls, for the few lines of an init that lives long: no Python function is called on the way, no error is
# made into an exception. They return what the C library does; `last_errno` says why.
raw_prctl = _FUNCTIONS["prctl"]
raw_syscall = _SYSCALL
raw_clone = _SYSCALL_LOCKED
last_errno = ctypes.get_errno


def buffer(content: bytes) -> "ctypes.Array[ctypes.c_char]":
    """A writable copy of `content` for the kernel to read or fill."""
    return ctypes.create_string_buffer(content, len(content))
