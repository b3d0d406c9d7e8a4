"""Fixtures of all tests: whom to run as, how to run nsinit, and that nothing is left behind."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support import accounts, isolation, libc, processes
from tests.support.accounts import Account
from tests.support.installation import ROOT
from tests.support.leaks import Snapshot
from tests.support.runner import Result, Runner
from tests.support.session import Session
from tests.support.waiting import remaining

_IS_ROOT = os.geteuid() == 0
# How long the processes of a finished test may take to be gone: they were told to end.
_GRACE_S = 10.0


def pytest_configure(config: pytest.Config) -> None:
    """Before any test and any thread: adopt orphans, so that none escapes, and leave the machine's /dev and /tmp."""
    if config.option.collectonly:
        return
    libc.become_subreaper()
    if _IS_ROOT:
        needed = [ROOT, Path(sys.prefix), Path(sys.base_prefix), Path.cwd(), config.rootpath]
        if config.option.basetemp:
            needed.append(Path(config.option.basetemp))
        isolation.isolate(needed)


@pytest.fixture(scope="session", autouse=True)
def session() -> Iterator[Session]:
    """The run; in the end it fails if a process, mount, namespace or file is left, or a device damaged."""
    before = Snapshot()
    run = Session()
    os.environ["TMPDIR"] = str(run.directory)
    yield run
    run.remove()
    uids = [accounts.unprivileged().uid] if _IS_ROOT else []
    leaks = before.leaks(run.token, uids, private=_IS_ROOT)
    assert not leaks, "the tests left behind:\n  " + "\n  ".join(leaks)


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """A test ends with the processes it began with; the others are named, and killed."""
    before = set(processes.descendants(os.getpid()))
    yield
    left = remaining(set(processes.descendants(os.getpid())) - before, _GRACE_S)
    named = [f"{pid} ({processes.command(pid)})" for pid in sorted(left)]
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    remaining(left, _GRACE_S)
    processes.reap_orphans()
    assert not named, f"the test left processes behind: {', '.join(named)}"


@pytest.fixture(scope="session")
def unprivileged() -> Account:
    """An ordinary user; below root one that no file knows."""
    return accounts.unprivileged()


@pytest.fixture(scope="session")
def subordinate() -> Iterator[Account]:
    """An ordinary user with subordinate id ranges."""
    try:
        with accounts.subordinate() as account:
            yield account
    except LookupError as error:
        pytest.skip(str(error))


@pytest.fixture(params=["as_root", "as_user"])
def account(request: pytest.FixtureRequest) -> Account:
    """The test runs twice: as root and as an ordinary user."""
    if request.param == "as_user":
        return accounts.unprivileged()
    if not _IS_ROOT:
        pytest.skip("needs root")
    return accounts.caller()


@pytest.fixture
def runner_for(session: Session) -> Iterator[Callable[[Account], Runner]]:
    """Makes runners, one an account and call; their directories go with the test."""
    made: list[Runner] = []

    def make(account: Account) -> Runner:
        made.append(session.runner(account))
        return made[-1]

    yield make
    for runner in made:
        runner.remove()


@pytest.fixture
def nsinit(runner_for: Callable[[Account], Runner], account: Account) -> Runner:
    """Runs nsinit; the test runs twice, as root and as an ordinary user."""
    return runner_for(account)


@pytest.fixture
def nsinit_as_root(runner_for: Callable[[Account], Runner]) -> Runner:
    """Runs nsinit as root."""
    if not _IS_ROOT:
        pytest.skip("needs root")
    return runner_for(accounts.caller())


@pytest.fixture
def nsinit_as_user(runner_for: Callable[[Account], Runner], unprivileged: Account) -> Runner:
    """Runs nsinit as an ordinary user without subordinate ids."""
    return runner_for(unprivileged)


@pytest.fixture
def nsinit_as_subordinate(runner_for: Callable[[Account], Runner], subordinate: Account) -> Runner:
    """Runs nsinit as an ordinary user with subordinate id ranges."""
    return runner_for(subordinate)


@pytest.fixture
def run_nsinit(runner_for: Callable[[Account], Runner]) -> Callable[..., Result]:
    """`run_nsinit(args..., user=account, input=b"", timeout=60)` runs nsinit once, as the caller by default.

    With `tty=True` it runs as a session leader on a terminal, and all it prints is in `stdout`.
    """

    def run(
        *args: str, user: Account | None = None, tty: bool = False, timeout: float = 60.0, **options: Any
    ) -> Result:
        runner = runner_for(user or accounts.caller())
        if not tty:
            return runner.run(*args, timeout=timeout, **options)
        with runner.terminal([runner.nsinit, *args], **options) as terminal:
            return Result(stdout=terminal.read_to_end(timeout), stderr="", status=terminal.wait(timeout))

    return run
