"""nsinit down: end a supervisor with all its services."""

import os
import select
import time

import click

from nsinit.cli.options import timeout_option
from nsinit.cli.target import connect, target_options
from nsinit.errors import OperationFailed, TimedOut


@click.command
@target_options
@timeout_option
def command(timeout: float | None) -> None:
    """Stop all services and the supervisor; wait until it has gone."""
    deadline = None if timeout is None else time.monotonic() + timeout
    entry, client = connect(timeout)
    with client:
        # Opened before it is told to end, so that no later process of the same pid can be meant.
        launcher_fd = _open_process(entry.launcher_pid)
        try:
            client.shutdown()
            client.wait_closed()
            if launcher_fd is not None:
                _wait_for_end(launcher_fd, entry.launcher_pid, deadline)
        finally:
            if launcher_fd is not None:
                os.close(launcher_fd)


def _open_process(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None  # gone already, or not visible from this pid namespace
    except OSError as error:
        raise OperationFailed(f"cannot watch process {pid} end: {error.strerror}") from error


def _wait_for_end(pidfd: int, pid: int, deadline: float | None) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    left_ms = None if deadline is None else max((deadline - time.monotonic()) * 1000, 0)
    if not poll.poll(left_ms):
        raise TimedOut(f"the supervisor has closed its socket, but process {pid}, which started it, has not ended yet")
