"""Waiting for what happens elsewhere, woken by the kernel, with a deadline, never by a sleep.

A wait that runs out of time raises `TimeoutError`: the test fails and says for what it waited.
"""

import os
import select
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from time import monotonic

from tests.support import libc

PATIENCE_S = 20.0


class Deadline:
    """A moment in the future; `left_ms` is what poll(2) wants."""

    def __init__(self, timeout_s: float) -> None:
        self._end_s = monotonic() + timeout_s

    def left_ms(self, at_most: int = 1_000_000) -> int:
        """The milliseconds that remain, never negative."""
        return min(at_most, max(0, round((self._end_s - monotonic()) * 1000)))

    def passed(self) -> bool:
        """Whether the time is up."""
        return monotonic() >= self._end_s


def wait_readable(fd: int, timeout_s: float = PATIENCE_S) -> bool:
    """Whether `fd` has something to read, or its end, before the time is up."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(Deadline(timeout_s).left_ms()))


def wait_gone(pids: int | Iterable[int], timeout_s: float = PATIENCE_S) -> None:
    """Return when every one of `pids` has ended (a zombie has)."""
    left = remaining([pids] if isinstance(pids, int) else pids, timeout_s)
    if left:
        raise TimeoutError(f"still running after {timeout_s} s: {sorted(left)}")


def wait_reaped(pid: int, timeout_s: float = PATIENCE_S) -> None:
    """Return when a process has ended and its parent has taken note."""
    wait_gone(pid, timeout_s)
    poll_until(lambda: not os.path.exists(f"/proc/{pid}"), f"{pid} to be reaped", timeout_s)


def remaining(pids: Iterable[int], timeout_s: float) -> set[int]:
    """Those of `pids` that have not ended when the time is up."""
    deadline = Deadline(timeout_s)
    waited: dict[int, int] = {}
    for pid in pids:
        with suppress(ProcessLookupError):
            waited[os.pidfd_open(pid)] = pid
    try:
        poll = select.poll()
        for pidfd in waited:
            poll.register(pidfd, select.POLLIN)
        left = set(waited)
        while left:
            ended = poll.poll(deadline.left_ms())
            if not ended:
                break
            for pidfd, _ in ended:
                poll.unregister(pidfd)
                left.discard(pidfd)
        return {waited[pidfd] for pidfd in left}
    finally:
        for pidfd in waited:
            os.close(pidfd)


def wait_path(path: str | Path, timeout_s: float = PATIENCE_S) -> None:
    """Return when something exists at `path`, whose directory exists."""
    path = Path(path)
    wait_for(lambda: os.path.lexists(path), path.parent, f"{path} to appear", timeout_s)


def wait_text(path: str | Path, text: str, timeout_s: float = PATIENCE_S) -> str:
    """Return the contents of the file at `path` once `text` is in it; its directory exists."""
    path = Path(path)

    def contents() -> str:
        return path.read_text(errors="replace") if path.exists() else ""

    wait_for(lambda: text in contents(), path.parent, f"{text!r} in {path}", timeout_s)
    return contents()


def wait_for(condition: Callable[[], object], directory: str | Path, what: str, timeout_s: float = PATIENCE_S) -> None:
    """Return when `condition()` holds; it is asked again whenever something in `directory` changes."""
    mask = libc.IN_CREATE | libc.IN_MOVED_TO | libc.IN_CLOSE_WRITE | libc.IN_MODIFY | libc.IN_DELETE | libc.IN_ATTRIB
    inotify_fd = libc.inotify(os.fspath(directory), mask)
    deadline = Deadline(timeout_s)
    try:
        poll = select.poll()
        poll.register(inotify_fd, select.POLLIN)
        while not condition():
            if deadline.passed():
                raise TimeoutError(f"waited {timeout_s} s for {what}")
            if poll.poll(deadline.left_ms()):
                os.read(inotify_fd, 65536)
    finally:
        os.close(inotify_fd)


def poll_until(
    condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S, interval_s: float = 0.02
) -> None:
    """Return when `condition()` holds, for what no kernel object announces (a state in /proc, an answer of a server).

    The last resort: everything else in this module is woken by the event itself.
    """
    deadline = Deadline(timeout_s)
    timer = select.poll()
    while not condition():
        if deadline.passed():
            raise TimeoutError(f"waited {timeout_s} s for {what}")
        timer.poll(deadline.left_ms(round(interval_s * 1000)))
