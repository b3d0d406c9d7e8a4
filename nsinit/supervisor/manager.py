"""The supervisor: all services, the order among them, and the verbs.

Everything that happens is an event for one service's machine. Events are handled one by one, to the end, and without
awaiting: whatever the order in which the world or the users come, no two decisions overlap. A verb posts events and
then waits until the machines have got where it wants them.
"""

import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from time import monotonic
from typing import TypeVar

import structlog
import trio

from nsinit import __version__
from nsinit.config import Project
from nsinit.errors import Inactive, NoSuchService, NsinitError, OperationFailed
from nsinit.supervisor import events as ev
from nsinit.supervisor.diff import compare
from nsinit.supervisor.graph import Graph
from nsinit.supervisor.model import ExecContext, LogLine, ReloadReport, ServiceStatus, SupervisorInfo
from nsinit.supervisor.output import Journal
from nsinit.supervisor.plan import environment
from nsinit.supervisor.reaper import Reaper
from nsinit.supervisor.service import Context, Service
from nsinit.supervisor.states import AT_REST, UP, State

log = structlog.get_logger()
T = TypeVar("T")


class Manager:
    """Implements `SupervisorApi`. `load` reads the project again, for a reload."""

    def __init__(
        self,
        project: Project,
        name: str,
        load: Callable[[], Project],
        context: Context,
        journal: Journal,
        reaper: Reaper,
    ) -> None:
        self.name = name
        self.stopped = trio.Event()
        self._project = project
        self._load = load
        self._context = context
        self._journal = journal
        self._reaper = reaper
        self._graph = Graph(project.services)
        self._services: dict[str, Service] = {}
        self._queue: deque[tuple[Service, ev.AnyEvent]] = deque()
        self._handling = False
        self._changed = trio.Event()
        self._started_at = monotonic()
        self._shutting_down = False
        self._reloading = trio.Lock()
        for name in project.services:
            self._add(name)

    # Events

    def post(self, service: Service, event: ev.AnyEvent) -> None:
        """Hand an event to a service's machine, after those that are being handled."""
        self._queue.append((service, event))
        if self._handling:
            return
        self._handling = True
        try:
            while self._queue:
                self._handle(*self._queue.popleft())
        finally:
            self._handling = False
        self._changed.set()
        self._changed = trio.Event()
        self._check_exit()

    def _handle(self, service: Service, event: ev.AnyEvent) -> None:
        for action in service.machine.handle(event, monotonic()):
            self._act(service, action)

    def _act(self, service: Service, action: ev.AnyAction) -> None:
        match action:
            case ev.CheckDependencies():
                self._tell_verdict(service)
            case ev.Spawn():
                service.spawn()
            case ev.SendSignal(number, scope):
                service.send_signal(number, scope)
            case ev.KillAll():
                service.kill_all()
            case ev.StartTimer(_, seconds, expiry):
                service.start_timer(seconds, expiry)
            case ev.CancelTimer():
                service.cancel_timer()
            case ev.RestartFollowers():
                self._restart_followers(service.name)
            case ev.Shutdown(reason):
                log.error("supervisor.gives_up", reason=reason)
                self.shutdown()
            case ev.Announce(_, state, reason):
                self._announce(service, state, reason)

    def _announce(self, service: Service, state: State, reason: str) -> None:
        if state is State.READY or state is State.COMPLETED:
            service.been_up = True
        level = "warning" if state in (State.FAILED, State.BACKOFF) else "info"
        getattr(service.log, level)(f"service.{state}", reason=reason)
        # Also when only the reason is new: a wait that has become hopeless makes those behind it hopeless.
        for name in self._graph.waiters(service.name):
            waiter = self._services.get(name)
            if waiter is not None and waiter.machine.state is State.WAITING:
                self._tell_verdict(waiter)

    def _tell_verdict(self, service: Service) -> None:
        machines = {name: other.machine for name, other in self._services.items()}
        self._queue.append((service, self._graph.verdict(service.name, machines)))

    def _restart_followers(self, name: str) -> None:
        for follower in self._graph.restart_set(name):
            self._queue.append((self._services[follower], ev.RestartRequested(f"{name} was restarted")))

    def _check_exit(self) -> None:
        exit_when = self._project.supervisor.exit_when
        states = {service.machine.state for service in self._services.values()}
        if self._shutting_down or exit_when == "never" or not self._services:
            return
        if (exit_when == "all-stopped" and states <= AT_REST) or (exit_when == "any-failed" and State.FAILED in states):
            log.info("supervisor.exits", reason=exit_when)
            self.shutdown()

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            await self._changed.wait()

    # Asking

    def list(self) -> Sequence[ServiceStatus]:
        """All services, by name."""
        now = monotonic()
        return [service.machine.status(now) for _, service in sorted(self._services.items())]

    def status(self, name: str) -> ServiceStatus:
        """One service."""
        return self._find(name).machine.status(monotonic())

    def exec_context(self, name: str) -> ExecContext:
        """Where and how a further command of this service would run."""
        service = self._find(name)
        machine = service.machine
        if machine.pid is None:
            raise Inactive(f"{name} is not running: it is {machine.state} ({machine.reason})")
        config = service.config
        return ExecContext(
            name=name,
            pid=machine.pid,
            env=environment(config, {}),
            user=config.user,
            working_dir=config.working_dir,
        )

    def info(self) -> SupervisorInfo:
        """The supervisor itself."""
        return SupervisorInfo(
            name=self.name,
            directory=self._project.directory,
            version=__version__,
            pid=os.getpid(),
            namespaces=self._context.isolated,
            orphans_reaped=self._reaper.orphans_reaped,
            uptime_s=monotonic() - self._started_at,
        )

    def logs(self, names: Sequence[str], tail: int | None) -> Sequence[LogLine]:
        """The lines kept in memory."""
        return self._journal.tail([self._find(name).name for name in names] or self._services, tail)

    def follow(self, names: Sequence[str]) -> AbstractAsyncContextManager[AsyncIterator[LogLine]]:
        """The lines from now on."""
        return self._journal.follow([self._find(name).name for name in names])

    def _find(self, name: str) -> Service:
        if name not in self._services:
            raise NoSuchService(f"there is no service {name}: `nsinit ps` lists them")
        return self._services[name]

    # Verbs

    def start_enabled(self) -> None:
        """Start what the files say is to be started, and what that needs."""
        enabled = [name for name, service in self._services.items() if service.config.startup == "enabled"]
        self._request_start(enabled, "starts with the supervisor")

    def _request_start(self, names: Iterable[str], reason: str) -> None:
        wanted = set(names)
        for name in self._graph.needed(wanted):
            service = self._services[name]
            done = service.machine.state is State.COMPLETED and service.config.type == "oneshot"
            if name in wanted:
                self.post(service, ev.StartRequested(reason))
            elif service.machine.at_rest and not done:
                self.post(service, ev.StartRequested("needed by another service"))

    async def start(self, names: Sequence[str]) -> None:
        """Start them and what they need; return when they are up."""
        self._refuse_while_shutting_down()
        services = [self._find(name) for name in names]
        await self._shielded(self._start, services)

    async def _start(self, services: Sequence[Service]) -> None:
        for service in services:
            if service.machine.state not in UP:
                service.been_up = False
        self._request_start([service.name for service in services], "start requested")
        await self._until(lambda: all(_settled(service) for service in services))
        self._raise_for([service for service in services if not service.been_up])

    async def stop(self, names: Sequence[str]) -> None:
        """Stop their dependents, then them; return when all are stopped."""
        await self._shielded(self._stop, [self._find(name).name for name in names])

    async def _stop(self, names: Iterable[str], reason: str = "stop requested") -> None:
        order = [name for name in self._graph.stop_set(names) if self._services[name].machine.state not in AT_REST]
        async with trio.open_nursery() as nursery:
            for name in order:
                nursery.start_soon(self._stop_one, name, frozenset(order), reason)

    async def _stop_one(self, name: str, stopping: frozenset[str], reason: str) -> None:
        def blocked() -> bool:
            machines = {other: service.machine for other, service in self._services.items()}
            return bool(self._graph.stop_blockers(name, stopping, machines))

        service = self._services[name]
        await self._until(lambda: not blocked())
        self.post(service, ev.StopRequested(reason))
        await self._until(lambda: service.machine.at_rest or service.machine.starts_again)

    async def restart(self, names: Sequence[str]) -> None:
        """Stop and start them; return when they are up again."""
        self._refuse_while_shutting_down()
        await self._shielded(self._restart, [self._find(name).name for name in names])

    async def _restart(self, names: Sequence[str]) -> None:
        again = self._alive_with(names)
        await self._stop([*names, *again], "restart requested")
        await self._start([self._services[name] for name in dict.fromkeys([*names, *again])])

    def _alive_with(self, names: Iterable[str]) -> Sequence[str]:
        """Those not at rest that go down when `names` do, or want to be restarted with them."""
        named = list(names)
        followers = [follower for name in named for follower in self._graph.restart_set(name)]
        affected = self._graph.stop_set([*named, *followers])
        return [name for name in affected if not self._services[name].machine.at_rest]

    async def reload(self) -> ReloadReport:
        """Read the configuration again and apply what changed."""
        self._refuse_while_shutting_down()
        async with self._reloading:
            project = self._load()
            return await self._shielded(self._apply, project)

    async def _apply(self, project: Project) -> ReloadReport:
        difference = compare(self._project, project)
        graph = Graph(project.services)
        up = set(self._alive_with(difference.restarted)) - set(difference.removed)
        if difference.outer:
            log.warning("supervisor.needs_restart", keys=", ".join(difference.outer))
        async with trio.open_nursery() as nursery:
            for name in (*difference.removed, *up):
                everybody = frozenset(difference.removed) | up
                nursery.start_soon(self._stop_one, name, everybody, "its configuration has changed")
        for name in difference.removed:
            self._services.pop(name).close()
            self._journal.forget(name)
        self._project, self._graph = project, graph
        for name in difference.added:
            self._add(name)
        for name in (*difference.restarted, *difference.updated):
            self.post(self._services[name], ev.ConfigChanged(project.services[name]))
        enabled = [name for name in difference.added if project.services[name].startup == "enabled"]
        self._request_start([*enabled, *up], "its configuration has changed")
        report = ReloadReport(
            added=list(difference.added),
            removed=list(difference.removed),
            restarted=list(difference.restarted),
            updated=list(difference.updated),
        )
        log.info("supervisor.reloaded", **{key: getattr(report, key) for key in report.__struct_fields__})
        return report

    async def wait_up(self) -> None:
        """Return when all enabled services have come up; OperationFailed names those which will not."""
        enabled = [service for service in self._services.values() if service.config.startup == "enabled"]
        await self._until(lambda: self._shutting_down or all(_settled(service) for service in enabled))
        self._raise_for([service for service in enabled if not service.been_up])

    def shutdown(self) -> None:
        """Begin the ordered shutdown; a second call hastens it."""
        if self._shutting_down:
            for service in self._services.values():
                if service.machine.alive:
                    self.post(service, ev.KillRequested("the shutdown was hastened"))
            return
        self._shutting_down = True
        log.info("supervisor.stopping")
        self._context.nursery.start_soon(self._shut_down)

    async def _shut_down(self) -> None:
        await self._stop(list(self._services), "the supervisor shuts down")
        for service in self._services.values():
            service.close()
        log.info("supervisor.stopped", orphans_reaped=self._reaper.orphans_reaped)
        self.stopped.set()

    def _refuse_while_shutting_down(self) -> None:
        if self._shutting_down:
            raise OperationFailed("the supervisor is shutting down")

    def _add(self, name: str) -> None:
        service = Service(self._project.services[name], self._context, self.post)
        self._services[name] = service
        self._context.nursery.start_soon(service.run)

    def _raise_for(self, services: Sequence[Service]) -> None:
        if services:
            raise OperationFailed("\n".join(_complaint(service, self._journal) for service in services))

    async def _shielded(self, work: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Do `work` to its end even when the caller goes away meanwhile."""
        result: list[T] = []
        errors: list[NsinitError] = []
        done = trio.Event()

        async def run() -> None:
            try:
                result.append(await work(*arguments))
            except NsinitError as error:
                errors.append(error)
            finally:
                done.set()

        self._context.nursery.start_soon(run)
        await done.wait()
        if errors:
            raise errors[0]
        return result[0]


def _settled(service: Service) -> bool:
    """It has come up, or will not without help."""
    machine = service.machine
    return service.been_up or machine.at_rest or machine.state is State.BACKOFF or machine.blocked


def _complaint(service: Service, journal: Journal) -> str:
    machine = service.machine
    lines = [f"{service.name} is not up: {machine.state}: {machine.reason}"]
    lines += [f"  {service.name} | {line.text}" for line in journal.tail([service.name], 5)]
    return "\n".join(lines)
