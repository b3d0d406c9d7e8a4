"""Signals by name and number, the dispositions CPython changes, and signalfd.

`_signal` is used instead of `signal`, whose enums cost 4 ms at start-up.

Source: signal(7), signalfd(2), proc(5).
"""

import _signal  # type: ignore[import-not-found]  # private to CPython, and stable since 3.2
import os

from nsinit.kernel import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SIGKILL, SIGSTOP, SIGCHLD, SIGCONT = _signal.SIGKILL, _signal.SIGSTOP, _signal.SIGCHLD, _signal.SIGCONT
SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE = (
    _signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM, _signal.SIGPIPE
)  # fmt: skip
SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH, SIGXFSZ = (
    _signal.SIGTSTP, _signal.SIGTTIN, _signal.SIGTTOU, _signal.SIGWINCH, _signal.SIGXFSZ
)  # fmt: skip
SIGRTMIN, SIGRTMAX = _signal.SIGRTMIN, _signal.SIGRTMAX
ALL = frozenset(range(1, 65)) - {32, 33}  # 32 and 33 belong to the C library
SI_KERNEL = 128  # si_code of what a terminal sends

# What CPython ignores at start, whatever it found (Python/pylifecycle.c).
PYTHON_IGNORES = (SIGPIPE, SIGXFSZ)

_SFD_NONBLOCK_CLOEXEC = 0o2004000
_SIGNALFD_RECORD = 128

NUMBERS = {
    name[3:]: int(getattr(_signal, name))
    for name in dir(_signal)
    if name.startswith("SIG") and name[3] != "_" and name not in ("SIGRTMIN", "SIGRTMAX", "SIGCLD", "SIGPOLL")
}
NAMES = {number: name for name, number in NUMBERS.items()}


def signal_name(number: int) -> str:
    """ "SIGTERM" for 15, "SIGRTMIN+3" for 37."""
    if number in NAMES:
        return "SIG" + NAMES[number]
    return f"SIGRTMIN+{number - SIGRTMIN}" if SIGRTMIN <= number <= SIGRTMAX else f"signal {number}"


def signal_number(text: str) -> int:
    """The number of "TERM", "SIGTERM", "15", "RTMIN+3" or "RTMAX-2"; ValueError when there is none such."""
    name = text.strip().upper().removeprefix("SIG")
    if name in NUMBERS:
        return NUMBERS[name]
    base, sign, offset = name[:5], name[5:6], name[6:]
    number = 0
    if name.isascii() and name.isdecimal():
        number = int(name)
    elif base == "RTMIN" and (not sign or (sign == "+" and offset.isdecimal())):
        number = SIGRTMIN + int(offset or 0)
    elif base == "RTMAX" and (not sign or (sign == "-" and offset.isdecimal())):
        number = SIGRTMAX - int(offset or 0)
    if number not in ALL:
        raise ValueError(f"no signal is called {text!r}")
    return number


def block_all() -> list[int]:
    """Block every signal; return those that were blocked before."""
    return sorted(map(int, _signal.pthread_sigmask(_signal.SIG_BLOCK, ALL)))


def open_signalfd(signals: frozenset[int]) -> int:
    """A descriptor from which the blocked `signals` can be read.

    Source: signalfd(2).
    """
    mask = sum(1 << (number - 1) for number in signals)
    content = libc.buffer(mask.to_bytes(8, "little").ljust(128, b"\0"))
    return libc.call("signalfd", -1, content, _SFD_NONBLOCK_CLOEXEC)


def parse_signalfd(content: bytes) -> list[tuple[int, int]]:
    """The (signal, si_code) pairs of what was read from a signalfd."""
    return [
        (
            int.from_bytes(content[at : at + 4], "little"),
            int.from_bytes(content[at + 8 : at + 12], "little", signed=True),
        )
        for at in range(0, len(content), _SIGNALFD_RECORD)
    ]


# Bare sigwaitinfo(2): takes the signals to wait for, returns a siginfo.
wait_signal = _signal.sigwaitinfo


def wait(timeout_s: float | None = None) -> tuple[int, int] | None:
    """Take one pending blocked signal as (signal, si_code), waiting for it; None when `timeout_s` is over."""
    info = _signal.sigwaitinfo(ALL) if timeout_s is None else _signal.sigtimedwait(ALL, max(0.0, timeout_s))
    return info and (info.si_signo, info.si_code)


def set_blocked(blocked: "Iterable[int]") -> None:
    """Replace the caller's signal mask."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, blocked)


def is_pending(number: int) -> bool:
    """Whether a blocked `number` waits to be taken."""
    return number in _signal.sigpending()


def set_default(number: int) -> None:
    """Give a signal its default disposition."""
    _signal.signal(number, _signal.SIG_DFL)


def set_ignored(number: int) -> None:
    """Ignore a signal."""
    _signal.signal(number, _signal.SIG_IGN)


def is_python_handled(number: int) -> bool:
    """Whether a handler of the interpreter is installed (SIGINT's, after start-up)."""
    return callable(_signal.getsignal(number))


def raise_with_default(number: int, group: bool = False) -> None:
    """Let `number` act on the caller as if nobody had blocked or handled it: a stop signal stops here.

    With `group`, it is sent to the caller's whole process group.
    """
    changeable = number not in (SIGKILL, SIGSTOP)
    previous = _signal.getsignal(number)
    if changeable:
        _signal.signal(number, _signal.SIG_DFL)
    os.kill(0 if group else os.getpid(), number)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (number,))
    _signal.pthread_sigmask(_signal.SIG_BLOCK, (number,))
    if changeable and previous is not None:
        _signal.signal(number, previous)


def started_with_ignored() -> list[int]:
    """Which of the signals that CPython ignores at start were ignored before it started.

    The process itself can't tell any more, but its parent can: ignored signals are inherited. A parent that
    ignores all of them is taken for a Python program, which restores them for its children (subprocess).

    Source: proc_pid_status(5), SigIgn.
    """
    try:
        status = _read_status(os.getppid())
    except OSError:
        return []
    mask = int(status.partition(b"SigIgn:")[2].split(None, 1)[0] or b"0", 16)
    ignored = [number for number in PYTHON_IGNORES if mask >> (number - 1) & 1]
    return [] if len(ignored) == len(PYTHON_IGNORES) else ignored


def _read_status(pid: int) -> bytes:
    """The text of /proc/PID/status."""
    descriptor = os.open(f"/proc/{pid}/status", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 8192)
    finally:
        os.close(descriptor)
