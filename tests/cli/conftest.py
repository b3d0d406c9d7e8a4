import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from nsinit.cli import main
from nsinit.control import runtime
from tests.support.fake_supervisor import FakeSupervisor, Running, service, serving


class Outcome(NamedTuple):
    """How a command line ended."""

    status: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "run"
    monkeypatch.setenv("NSINIT_RUNTIME_DIR", str(path))
    monkeypatch.delenv("NSINIT_DEBUG", raising=False)
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory above an empty `services`, which is the current one."""
    path = tmp_path / "shop"
    (path / "services").mkdir(parents=True)
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in this process."""

    def run(*arguments: str) -> Outcome:
        status = main([*arguments])
        return Outcome(status, *capsys.readouterr())

    return run


@pytest.fixture
def running(project: Path) -> Iterator[Running]:
    """A fake supervisor of the project, with a service in each of three states; this process is its launcher."""
    fake = FakeSupervisor(
        service("db", pid=os.getpid(), init_pid=os.getpid(), uptime_s=93784.0),
        service("web", "backoff", "exit 3, restart 4 of 10 in 8.2 s", restarts=3, exit_code=3),
        service("worker", "stopped", "asked to stop", startup="disabled", signal="SIGKILL"),
        directory=str(project / "services"),
    )
    claim = runtime.claim("shop", str(project / "services"))
    try:
        with serving(fake, claim.listener.dup(), {os.getuid()}) as running:
            yield running
    finally:
        claim.release()
