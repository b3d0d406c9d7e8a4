"""A SupervisorApi without any process, and a way to serve it from a thread to synchronous clients."""

import socket
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import trio

from nsinit.control.server import serve
from nsinit.errors import Inactive
from nsinit.supervisor.model import ExecContext, LogLine, ReloadReport, ServiceStatus, SupervisorInfo


def service(name: str, state: str = "ready", reason: str = "", **fields: object) -> ServiceStatus:
    """A service's status; `ready` follows from the state."""
    return msgspec.structs.replace(
        ServiceStatus(name=name, state=state, reason=reason, ready=state == "ready"),
        **fields,
    )


class FakeSupervisor:
    """Does at once what it is asked, and records it in `calls`.

    `failure` is raised by what can fail; while `gate` is set, start, stop and wait_up wait for it.
    """

    def __init__(self, *services: ServiceStatus, directory: str = "/srv/services") -> None:
        self.name = "fake"
        self.directory = directory
        self.namespaces = False
        self.services = {status.name: status for status in services}
        self.lines: list[LogLine] = []
        self.calls: list[tuple[str, ...]] = []
        self.failure: Exception | None = None
        self.gate: trio.Event | None = None
        self.ended = trio.Event()
        self.followers: set[trio.MemorySendChannel[LogLine]] = set()
        self.followed = trio.Event()
        self.cancelled = trio.Event()

    def list(self) -> Sequence[ServiceStatus]:
        return [self.services[name] for name in sorted(self.services)]

    def status(self, name: str) -> ServiceStatus:
        return self.services[name]

    def exec_context(self, name: str) -> ExecContext:
        status = self.services[name]
        if status.pid is None:
            raise Inactive(f"service {name} has no process: it is {status.state}")
        return ExecContext(name=name, pid=status.pid, env={"A": "1"}, user="root", working_dir="/")

    async def start(self, names: Sequence[str]) -> None:
        await self._do("start", names, "ready")

    async def stop(self, names: Sequence[str]) -> None:
        await self._do("stop", names, "stopped")

    async def restart(self, names: Sequence[str]) -> None:
        await self._do("restart", names, "ready")

    async def reload(self) -> ReloadReport:
        await self._do("reload", (), "")
        return ReloadReport(added=["new"], removed=["old"], restarted=["web"], updated=[])

    async def wait_up(self) -> None:
        await self._do("wait_up", (), "")

    def info(self) -> SupervisorInfo:
        return SupervisorInfo(
            name=self.name,
            directory=self.directory,
            version="0",
            pid=1,
            namespaces=self.namespaces,
            orphans_reaped=2,
            uptime_s=1.5,
        )

    def logs(self, names: Sequence[str], tail: int | None) -> Sequence[LogLine]:
        wanted = [line for line in self.lines if not names or line.service in names]
        if tail is None:
            return wanted
        kept = {line.service: 0 for line in wanted}
        last = []
        for line in reversed(wanted):
            kept[line.service] += 1
            if kept[line.service] <= tail:
                last.append(line)
        return last[::-1]

    @asynccontextmanager
    async def follow(self, names: Sequence[str]) -> AsyncIterator[AsyncIterator[LogLine]]:
        into, out = trio.open_memory_channel[LogLine](1000)
        self.followers.add(into)
        self.followed.set()
        try:
            async with out:
                yield out
        finally:
            self.followers.discard(into)
            self.cancelled.set()

    def shutdown(self) -> None:
        self.calls.append(("shutdown",))
        self.ended.set()

    def write(self, service: str, text: str, *, time: float = 1000.0) -> LogLine:
        """Let a service write a line, to the memory and to those who follow."""
        line = LogLine(seq=len(self.lines) + 1, time=time, service=service, stream="stdout", text=text)
        self.lines.append(line)
        for follower in self.followers:
            follower.send_nowait(line)
        return line

    def end_logs(self) -> None:
        """Tell those who follow that there is nothing more to come."""
        for follower in self.followers:
            follower.close()

    async def _do(self, verb: str, names: Sequence[str], state: str) -> None:
        self.calls.append((verb, *names))
        try:
            if self.gate is not None:
                await self.gate.wait()
        except trio.Cancelled:
            self.cancelled.set()
            raise
        if self.failure is not None:
            raise self.failure
        for name in names:
            self.services[name] = service(name, state)


def listener(path: Path) -> socket.socket:
    """A listening unix socket at `path`."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound.bind(str(path))
    bound.listen(100)
    return bound


T = TypeVar("T")


class Running:
    """A fake supervisor that serves in a thread; `call` runs a function of it there."""

    def __init__(self, fake: FakeSupervisor, token: trio.lowlevel.TrioToken) -> None:
        self.fake = fake
        self._token = token

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Run `function` in the supervisor's thread and return its result."""
        return trio.from_thread.run_sync(function, *arguments, trio_token=self._token)

    def wait(self, event: trio.Event) -> None:
        """Block until the event of the supervisor's has happened."""
        trio.from_thread.run(event.wait, trio_token=self._token)


@contextmanager
def serving(fake: FakeSupervisor, bound: socket.socket, uids: Collection[int]) -> Iterator[Running]:
    """Serve `fake` on `bound` (which it takes over) from a thread, until the block or the fake itself ends."""
    started = threading.Event()
    tokens: list[trio.lowlevel.TrioToken] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, fake, bound.detach(), uids)
            tokens.append(trio.lowlevel.current_trio_token())
            started.set()
            await fake.ended.wait()
            nursery.cancel_scope.cancel()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    started.wait()
    running = Running(fake, tokens[0])
    try:
        yield running
    finally:
        try:
            running.call(fake.ended.set)
        except trio.RunFinishedError:
            pass
        thread.join()
