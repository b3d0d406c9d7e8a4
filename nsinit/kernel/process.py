"""Process attributes, process descriptors and descriptor ranges.

Source: prctl(2), pidfd_open(2), pidfd_send_signal(2), close_range(2), keyctl(2).
"""

import os

from nsinit.errors import KernelError
from nsinit.kernel import libc
from nsinit.kernel.signals import SIGCHLD

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

CLONE_PARENT = 0x00008000
CLOSE_RANGE_CLOEXEC = 4
_LAST_FD = 0xFFFFFFFF
_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "i686": 288, "armv7l": 311, "ppc64le": 271, "s390x": 280}
_KEYCTL_JOIN_SESSION_KEYRING = 1
_ENOSYS = 38
_SIGINFO_SIZE = 128


def set_parent_death_signal(signal: int) -> None:
    """Have `signal` sent to the caller when its parent thread ends; 0 clears. A uid change or fork clears it too."""
    libc.call("prctl", PR_SET_PDEATHSIG, signal, 0, 0, 0)


def set_dumpable(value: int) -> None:
    """0: no ptrace, no core, and /proc/self belongs to root of the outermost user namespace."""
    libc.call("prctl", PR_SET_DUMPABLE, value, 0, 0, 0)


def set_subreaper() -> None:
    """Adopt the orphans among the caller's descendants, as PID 1 would. Inherited by nobody."""
    libc.call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def set_no_new_privs() -> None:
    """No exec below the caller may gain privileges (setuid, file capabilities). Can't be undone."""
    libc.call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def start_session_keyring() -> None:
    """Leave the session keyring that the caller has inherited for a new, empty one.

    Raises:
        KernelError: ENOSYS in a kernel without keys; EPERM in a container that forbids them; EDQUOT when the user has
            as many as are allowed.

    Source: keyctl_join_session_keyring(3).
    """
    number = _KEYCTL.get(os.uname().machine)
    if number is None:
        raise KernelError("keyctl", _ENOSYS)
    libc.syscall(number, "keyctl", _KEYCTL_JOIN_SESSION_KEYRING, None)


def pidfd_open(pid: int) -> int:
    """A descriptor (close-on-exec) for process `pid`; readable once it has ended. KernelError ESRCH."""
    return libc.syscall(libc.PIDFD_OPEN, "pidfd_open", pid, 0, path=str(pid))


def pidfd_send_signal(pidfd: int, signal: int, code: int = 0) -> None:
    """Signal exactly the process behind `pidfd`.

    A negative `code` arrives as the receiver's si_code (the kernel keeps the others for itself).

    Raises:
        KernelError: ESRCH when the process has ended, EPERM.
    """
    info = None
    if code:
        content = signal.to_bytes(4, "little") + bytes(4) + code.to_bytes(4, "little", signed=True)
        info = libc.buffer(content.ljust(_SIGINFO_SIZE, b"\0"))
    libc.syscall(libc.PIDFD_SEND_SIGNAL, "pidfd_send_signal", pidfd, signal, info, 0)


def clone(flags: int, description: str = "") -> int:
    """Fork into the new namespaces of `flags`; 0 in the child, its pid in the parent.

    With CLONE_PARENT the child is a sibling of the caller. Only for a process without threads: none of the
    interpreter's fork hooks run, whose only purpose are other threads. They would cost the child 50 KiB of its own.

    Raises:
        KernelError: as unshare; `description` names what was asked for.

    Source: clone3 in clone(2).
    """
    return libc.clone(clone_arguments(flags), description)


def clone_arguments(flags: int) -> libc.CloneArguments:
    """A struct clone_args for `flags`; its `flags` can be set again for another call."""
    return libc.CloneArguments(flags=flags, exit_signal=0 if flags & CLONE_PARENT else SIGCHLD)  # else inherited


def close_range(first: int, last: int = _LAST_FD, flags: int = 0) -> None:
    """Close (or with CLOSE_RANGE_CLOEXEC mark) every descriptor from `first` to `last`."""
    if first <= last:
        libc.syscall(libc.CLOSE_RANGE, "close_range", first, last, flags)


def close_all_except(kept: "set[int]") -> None:
    """Close every descriptor that is not in `kept`."""
    first = 0
    for descriptor in sorted(kept):
        close_range(first, descriptor - 1)
        first = descriptor + 1
    close_range(first)
