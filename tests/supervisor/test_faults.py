"""Exceptions that nobody foresaw."""

import pytest
import trio
import trio.testing

from nsinit.config.units import parse_duration
from nsinit.supervisor.faults import describe, tend


def test_a_bug_is_described_by_its_error_and_the_last_place_in_nsinit_that_it_passed() -> None:
    try:
        parse_duration(object())  # type: ignore[arg-type]
    except Exception as error:
        found = describe(ExceptionGroup("outer", [ExceptionGroup("inner", [error])]))
    assert found["error"].partition(":")[0] in ("AttributeError", "TypeError", "ValueError")
    assert found["where"].startswith("nsinit/config/units.py:")


def test_a_bug_from_elsewhere_has_no_place() -> None:
    assert describe(ValueError("x")) == {"error": "ValueError: x", "where": "unknown"}


async def test_a_task_that_breaks_is_told_of_and_run_once_more(nursery: trio.Nursery) -> None:
    runs, failures = 0, list[Exception]()

    async def task(*, task_status: trio.TaskStatus[None]) -> None:
        nonlocal runs
        runs += 1
        task_status.started()
        if runs == 1:
            raise ValueError("first")

    async def tended(*, task_status: trio.TaskStatus[None]) -> None:
        await tend(task, failures.append, task_status=task_status)

    await nursery.start(tended)
    await trio.testing.wait_all_tasks_blocked()
    assert runs == 2
    assert [str(failure) for failure in failures] == ["first"]


@pytest.mark.parametrize(("again", "runs"), [(True, 2), (False, 1)])
async def test_a_task_that_breaks_for_good_is_given_up(again: bool, runs: int) -> None:
    count = 0

    async def task(*, task_status: trio.TaskStatus[None]) -> None:
        nonlocal count
        count += 1
        raise ValueError(count)

    failures = list[Exception]()
    try:
        await tend(task, failures.append, again=again)
    except ValueError as error:
        assert again
        assert str(error) == "2"
    assert (count, len(failures)) == (runs, 1)
