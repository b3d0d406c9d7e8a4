"""The one place in a supervisor that waits for children.

It is PID 1's duty to reap every orphan, and waiting for a pid elsewhere would race with that. So everyone else asks
the reaper. It peeks first (WNOWAIT) and reaps afterwards: a pid can't be used again before its owner has been told.
An exit that comes before its owner asks is kept for it if the pid was announced or is a service's; what nobody ever
asks for is an orphan, and counted.

Source: waitid(2), signal(7).
"""

import os
import signal
from collections.abc import Callable

import trio


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
            _, status = os.waitpid(found.si_pid, 0)
            self._ended(found.si_pid, status)

    def _ended(self, pid: int, status: int) -> None:
        ended = self._expected.pop(pid, None)
        if ended is not None:
            ended(status)
        elif self._pending_launches:
            self._kept[pid] = status
        else:
            self.orphans_reaped += 1
