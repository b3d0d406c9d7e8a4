"""What becomes of exceptions that nobody foresaw: bugs in nsinit.

None of them may end PID 1, because every service would end with it at once. Each becomes one event that says what
broke and where, and the supervisor stops its services in order. No traceback reaches a user, unless NSINIT_DEBUG=1.
"""

import os
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol

import trio

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Task(Protocol):
    """A task of the supervisor's own, which runs until it is cancelled."""

    def __call__(self, *, task_status: trio.TaskStatus[None]) -> Awaitable[None]: ...


def describe(error: BaseException) -> dict[str, str]:
    """An exception as the values of an event: what it is, and the place in nsinit that it came from."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return {"error": f"{type(error).__name__}: {error}", "where": _place(error.__traceback__)}


def _place(traceback: TracebackType | None) -> str:
    place = "unknown"
    while traceback is not None:
        path = traceback.tb_frame.f_code.co_filename
        if path.startswith(_PACKAGE):
            place = f"{os.path.relpath(path, os.path.dirname(_PACKAGE))}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


async def tend(
    task: Task,
    failed: Callable[[Exception], None],
    *,
    again: bool = True,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a task; if it breaks, tell `failed` and (with `again`) run it once more: an ordered stop needs it."""
    try:
        await task(task_status=task_status)
    except Exception as error:
        failed(error)
        if again:
            await task(task_status=trio.TASK_STATUS_IGNORED)
