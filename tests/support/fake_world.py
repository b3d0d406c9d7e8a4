"""A world of services without processes: the supervisor's verbs and its clock, nothing forked.

`World` takes the place of the spawner and of the kernel that delivers signals. What a service does is a `Behaviour`.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

import trio

from nsinit.config import Project, ServiceConfig
from nsinit.errors import LaunchError
from nsinit.supervisor import service as service_module
from nsinit.supervisor.manager import Manager
from nsinit.supervisor.output import Journal
from nsinit.supervisor.reaper import Reaper
from nsinit.supervisor.service import Context

# Above every pid that the kernel may give.
_FIRST_PID = 1 << 23
_KILL, _EXITED = 9, 8


@dataclass
class Behaviour:
    """How a service's process behaves: what its launch fails with, when it exits by itself, what it does on TERM."""

    launch_s: float = 0.0
    failure: LaunchError | None = None
    runs_s: float | None = None
    exit_code: int = 0
    stop_s: float | None = 0.0  # None: it ignores the signal
    ready_s: float | None = 0.0


@dataclass
class FakeSandboxed:
    """The process of one run."""

    name: str
    init_pid: int
    pid: int
    failure: LaunchError | None = None
    wait_status: int | None = None
    ended: trio.Event = field(default_factory=trio.Event)
    launched: trio.Event = field(default_factory=trio.Event)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def executed(self) -> None:
        """Return when the launch has come to something."""
        await self.launched.wait()

    def end(self, status: int) -> None:
        """It has ended."""
        if not self.ended.is_set():
            self.wait_status = status
            self.scope.cancel()
            self.launched.set()
            self.ended.set()


class World:
    """A manager whose services exist only here; `runs` are all runs so far, `history` is what happened.

    `load` is what a reload reads.
    """

    def __init__(self, nursery: trio.Nursery, services: Project, seed: int = 0) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.runs: list[FakeSandboxed] = []
        self.history: list[tuple[str, str]] = []
        self.jitter_s = 0.0
        self.random = Random(seed)
        self._nursery = nursery
        self._pids = count(_FIRST_PID)
        self.load: Callable[[], Project] = lambda: services
        self.journal = Journal(lambda line: None)
        self.context = Context(self, self.journal, nursery, isolated=True, notify="")  # type: ignore[arg-type]
        self.manager = Manager(services, "srv", lambda: self.load(), self.context, self.journal, Reaper())

    def states(self) -> dict[str, str]:
        """The state of each service."""
        return {status.name: status.state for status in self.manager.list()}

    def close(self) -> None:
        """Close what the context has opened."""
        os.close(self.context.null_fd)

    def living(self, name: str) -> list[FakeSandboxed]:
        """The runs of a service that have not ended."""
        return [run for run in self.runs if run.name == name and not run.ended.is_set()]

    async def start(self, spec: Any, fds: Sequence[tuple[int, int]]) -> FakeSandboxed:
        """As Spawner.start: the command's first word is the service's name."""
        name = os.fsdecode(spec.argv[0])
        behaviour = self.behaviours.get(name, Behaviour())
        await trio.sleep(self.random.random() * self.jitter_s)
        if behaviour.failure is not None:
            raise behaviour.failure
        assert not self.living(name), f"two instances of {name} at once"
        run = FakeSandboxed(name, next(self._pids), next(self._pids))
        self.runs.append(run)
        self.history.append((name, "started"))
        self._nursery.start_soon(self._live, run, behaviour)
        return run

    async def _live(self, run: FakeSandboxed, behaviour: Behaviour) -> None:
        with run.scope:
            await trio.sleep(behaviour.launch_s + self.random.random() * self.jitter_s)
            run.launched.set()
            if behaviour.runs_s is None:
                await trio.sleep_forever()
            await trio.sleep(behaviour.runs_s)
            self.history.append((run.name, "exited"))
            run.end(behaviour.exit_code << _EXITED)

    def signal(self, pid: int, number: int, code: int = 0) -> None:
        """As the kernel would deliver it to the init or the command of a run."""
        for run in self.runs:
            if pid in (run.init_pid, run.pid) and not run.ended.is_set():
                self.history.append((run.name, f"signal {number}"))
                behaviour = self.behaviours.get(run.name, Behaviour())
                if number == _KILL:
                    run.end(number)
                elif behaviour.stop_s is not None:
                    self._nursery.start_soon(self._obey, run, number, behaviour.stop_s)

    async def _obey(self, run: FakeSandboxed, number: int, seconds: float) -> None:
        await trio.sleep(seconds + self.random.random() * self.jitter_s)
        run.end(number)


def config(name: str, **keys: Any) -> ServiceConfig:
    """A service whose command is its name."""
    return ServiceConfig(name=name, path=f"/srv/{name}.toml", command=(name,), **keys)


def project(*services: ServiceConfig, **keys: Any) -> Project:
    """A project of these services."""
    return Project(directory="/srv", name="srv", services={one.name: one for one in services}, **keys)


def deliver_signals_to(world: World, patch: Callable[[object, str, object], None]) -> None:
    """Have the supervisor's signals go to the world; `patch` is monkeypatch.setattr."""
    patch(service_module, "_signal", world.signal)
