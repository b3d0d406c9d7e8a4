"""The one place in a supervisor that waits for children.

It is PID 1's duty to reap every orphan, and waiting for a pid elsewhere would race with that. So everyone else asks
the reaper. It peeks (WNOWAIT), tells the owner, and reaps only then: as long as an owner believes in a pid, no other
process can have it. An exit that comes while launches are under way, before its owner has asked, is kept for it; what
nobody ever asks for is an orphan, and counted.

Source: waitid(2), signal(7).
"""

import os
import signal
from collections.abc import Callable

import trio

_CORE_DUMPED = 0x80


class Reaper:
    """Reaps all children; hands exits to those who expect them."""

    def __init__(self) -> None:
        self._expected: dict[int, Callable[[int], None]] = {}
        self._pending_launches = 0
        self._kept: dict[int, int] = {}
        self.orphans_reaped = 0

    def expect(self, pid: int, ended: Callable[[int], None]) -> None:
        """Have `ended` called with the wait status of `pid`, at once when it has ended already."""
        if pid in self._kept:
            ended(self._kept.pop(pid))
        else:
            self._expected[pid] = ended

    def launching(self, number: int) -> None:
        """So many more (or, negative, fewer) launches are under way: unknown exits are kept for their owners."""
        self._pending_launches += number
        if self._pending_launches == 0:
            self.orphans_reaped += len(self._kept)
            self._kept.clear()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Reap until cancelled."""
        with trio.open_signal_receiver(signal.SIGCHLD) as arrivals:
            task_status.started()
            self.reap()
            async for _ in arrivals:
                self.reap()

    def reap(self) -> None:
        """Take all exits there are."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            try:
                self._ended(found.si_pid, _wait_status(found))
            finally:
                os.waitpid(found.si_pid, 0)

    def _ended(self, pid: int, status: int) -> None:
        ended = self._expected.pop(pid, None)
        if ended is not None:
            ended(status)
        elif self._pending_launches:
            self._kept[pid] = status
        else:
            self.orphans_reaped += 1


def _wait_status(found: os.waitid_result) -> int:
    """The status as waitpid(2) would have it."""
    match found.si_code:
        case os.CLD_EXITED:
            return found.si_status << 8
        case os.CLD_DUMPED:
            return found.si_status | _CORE_DUMPED
        case _:
            return found.si_status
