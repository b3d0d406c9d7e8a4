"""What the processes of a sandbox tell the one that launched it.

One record a datagram on a SOCK_SEQPACKET pair, so that no reader has to find borders. The kernel adds the sender's pid
as the receiver sees it (SCM_CREDENTIALS): the only way to learn the outer pid of a process in a pid namespace that
can't be forged. A child formats nothing; all words are made here, by the receiver, with the file system it trusts.

Source: unix(7).
"""

import _socket
import marshal
import os

from nsinit.errors import LaunchError
from nsinit.kernel.signals import signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Kinds of record, and what follows.
FAILED = "failed"  # step, errno, path, exit code: the sandbox or the command can't be started
COMMAND = "command"  # nothing; sent by the command's process just before exec
STOPPED = "stopped"  # signal: the command was stopped by a job-control signal
ENDED = "ended"  # wait status of the command
NOTE = "note"  # constant text and numbers, for --verbose

_MAX_RECORD = 65536
_SO_PASSCRED = 16
_SCM_CREDENTIALS = 2
_CREDENTIALS_SPACE = _socket.CMSG_SPACE(12)


class Record:
    """One message: its kind, its values, and the sender's pid as the receiver sees it."""

    __slots__ = ("kind", "pid", "values")

    def __init__(self, kind: str, values: "list[Any]", pid: int) -> None:
        self.kind = kind
        self.values = values
        self.pid = pid


def channel() -> "tuple[_socket.socket, _socket.socket]":
    """A (receiver, sender) pair; both close-on-exec, the receiver non-blocking."""
    receiver, sender = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    receiver.setsockopt(_socket.SOL_SOCKET, _SO_PASSCRED, 1)
    receiver.setblocking(False)
    return receiver, sender


def receive(receiver: "_socket.socket") -> Record | None:
    """The next record; None at the end. BlockingIOError when there is none yet."""
    content, ancillary, _, _ = receiver.recvmsg(_MAX_RECORD, _CREDENTIALS_SPACE)
    if not content:
        return None
    pid = 0
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _SCM_CREDENTIALS:
            pid = int.from_bytes(data[:4], "little")
    kind, *values = marshal.loads(content)
    return Record(kind, values, pid)


class Sender:
    """The sending end in a sandbox's processes; a launcher that has gone is no error."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def send(self, kind: str, *values: "Any") -> bool:
        """Send a record; False when the launcher has gone or does not read."""
        try:
            os.write(self.fd, marshal.dumps((kind, *values)))
        except OSError:
            return False
        return True

    def failed(self, step: str, error: BaseException) -> int:
        """Report why a sandbox can't be started; return the exit status that says the same."""
        if isinstance(error, LaunchError):
            self.send(FAILED, error.stage, error.errno, error.path, error.exit_code, error.remedy)
            return error.exit_code
        number = (error.errno or 0) if isinstance(error, OSError) else 0
        call, path = getattr(error, "call", ""), getattr(error, "path", "")
        if not isinstance(error, OSError):
            path = type(error).__name__
        self.send(FAILED, f"{step} ({call})" if call else step, number, path, 125, "")
        return 125


def launch_error(record: Record) -> LaunchError:
    """The exception that a FAILED record stands for, with the remedy a user needs."""
    stage, errno, path, exit_code, remedy = record.values
    return LaunchError(stage, errno, path, remedy or _remedy(stage, errno), exit_code)


def start_error(error: OSError) -> LaunchError:
    """The exception for a sandbox whose namespaces could not be made."""
    path = getattr(error, "path", "")
    return LaunchError("unshare", error.errno or 0, path, _remedy("unshare", error.errno or 0))


_EPERM, _ENOENT, _EACCES, _EINVAL, _ENOSPC, _EROFS, _EDQUOT = 1, 2, 13, 22, 28, 30, 122
_REMEDIES = (
    ("unshare", _EPERM, "this kernel or container forbids it: `nsinit doctor` says what is allowed,"
     " --no-unshare runs without namespaces"),
    ("unshare", _ENOSPC, "too many namespaces, or nested too deeply (the kernel allows 32 levels):"
     " see /proc/sys/user/max_*_namespaces"),
    ("unshare", _EINVAL, "this kernel has no such namespace type: leave it out with --share"),
    ("mount proc", _EPERM, "an outer container hides parts of /proc, so the kernel refuses a fresh one:"
     " use --no-proc, or start the container with an unmasked /proc"),
    ("mount", _EPERM, "the user namespace may not mount this: `nsinit doctor` says what is allowed"),
    ("mount", _ENOENT, "the source or the destination is not there, and a read-only root can't get it:"
     " create it, or mount a tmpfs above it"),
    ("mount", _EROFS, "the destination is not there and the root is read-only: create it, or mount a tmpfs above it"),
    ("enter rootfs", _ENOENT, "there is no such directory"),
    ("enter rootfs", _EACCES, "the caller can't read it"),
    ("change identity", _EINVAL, "that id is not mapped in the user namespace: map it with --uid-map and --gid-map,"
     " or give the user subordinate ids in /etc/subuid and /etc/subgid"),
    ("change identity", _EPERM, "the caller may not take that identity, or setgroups is denied in this user namespace"),
    ("change directory", _ENOENT, "there is no such directory in the sandbox"),
    ("start a session keyring", _EDQUOT, "the user has as many keys as /proc/sys/kernel/keys/maxkeys allows"),
    ("shift clocks", _EACCES, "the clocks of a time namespace can't be set once a process is in it"),
)  # fmt: skip


def _remedy(stage: str, errno: int) -> str:
    for prefix, number, text in _REMEDIES:
        if number == errno and stage.startswith(prefix):
            return text
    return "" if errno else "this is a bug in nsinit: please report it"


def note_text(values: "list[Any]") -> str:
    """A NOTE record in words."""
    text, *numbers = values
    if text.endswith(("signal", "with")) and numbers:
        names = [signal_name(number) for number in dict.fromkeys(numbers)]
        return f"{text} {' as '.join(names)}"
    if text == "reaped orphan":
        return f"reaped orphan {numbers[0]} (status {numbers[1]})"
    return " ".join([text, *map(str, numbers)])
