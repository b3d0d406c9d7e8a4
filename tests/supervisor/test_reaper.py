"""Every exit is taken once, and reaches whoever expects it, whichever comes first."""

import os
import signal
from collections.abc import Callable

import pytest
import trio

from nsinit.supervisor.reaper import Reaper, _wait_status


def child(end: Callable[[], None] = lambda: None) -> int:
    """A process that ends at once in some way; it has ended when this returns, and nobody has reaped it."""
    pid = os.fork()
    if pid == 0:
        try:
            end()
        finally:
            os._exit(7)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def exists(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda: os._exit(3), 3 << 8),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), signal.SIGKILL),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), signal.SIGTERM),
    ],
)
def test_the_owner_gets_the_wait_status_before_the_pid_is_given_back(end: Callable[[], None], status: int) -> None:
    reaper, pid = Reaper(), child(end)
    seen = []
    reaper.expect(pid, lambda found: seen.append((found, exists(pid))))
    reaper.reap()
    assert seen == [(status, True)]
    assert not exists(pid)
    assert reaper.orphans_reaped == 0


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [(os.CLD_EXITED, 3, 3 << 8), (os.CLD_KILLED, 9, 9), (os.CLD_DUMPED, 6, 6 | 0x80)],
)
def test_a_wait_status_is_made_of_what_waitid_says(code: int, status: int, expected: int) -> None:
    assert _wait_status(os.waitid_result((1, 0, signal.SIGCHLD, status, code))) == expected
    assert os.WCOREDUMP(expected) == (code == os.CLD_DUMPED)


def test_an_exit_that_comes_before_its_owner_asks_is_kept_while_launches_are_under_way() -> None:
    reaper, pid, statuses = Reaper(), child(), list[int]()
    reaper.launching(1)
    reaper.reap()
    reaper.expect(pid, statuses.append)
    reaper.launching(-1)
    assert statuses == [7 << 8]
    assert reaper.orphans_reaped == 0


def test_what_nobody_expects_is_an_orphan_and_counted() -> None:
    reaper = Reaper()
    children = [child(), child()]
    reaper.launching(2)
    reaper.reap()
    reaper.launching(-1)
    assert reaper.orphans_reaped == 0
    reaper.launching(-1)
    assert reaper.orphans_reaped == 2
    child()
    reaper.reap()
    assert reaper.orphans_reaped == 3
    assert not any(map(exists, children))


def test_a_callback_that_fails_costs_no_exit() -> None:
    reaper, pid = Reaper(), child()

    def fail(_: int) -> None:
        raise RuntimeError

    reaper.expect(pid, fail)
    with pytest.raises(RuntimeError):
        reaper.reap()
    assert not exists(pid)
    reaper.reap()


async def test_exits_wake_it_up_and_those_from_before_are_found() -> None:
    reaper, ended = Reaper(), trio.Event()
    early, statuses = child(), list[int]()
    reaper.expect(early, statuses.append)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(reaper.run)
            assert statuses == [7 << 8]
            pid = os.fork()
            if pid == 0:
                signal.pause()
            reaper.expect(pid, lambda _: ended.set())
            os.kill(pid, signal.SIGKILL)
            await ended.wait()
            nursery.cancel_scope.cancel()
