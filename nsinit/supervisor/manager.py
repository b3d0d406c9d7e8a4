"""The supervisor as its users see it: what it can be asked, and the verbs.

A verb that somebody has begun goes on to its end, whatever becomes of whoever called it.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import structlog
import trio

from nsinit import __version__
from nsinit.config import Project
from nsinit.errors import Inactive, NoSuchService, NsinitError, OperationFailed
from nsinit.supervisor import events as ev
from nsinit.supervisor.diff import Difference, compare
from nsinit.supervisor.faults import describe
from nsinit.supervisor.graph import Graph
from nsinit.supervisor.model import ExecContext, LogLine, ReloadReport, ServiceStatus, SupervisorInfo
from nsinit.supervisor.output import Journal
from nsinit.supervisor.plan import environment
from nsinit.supervisor.reaper import Reaper
from nsinit.supervisor.service import Context, Service
from nsinit.supervisor.services import Services, returning
from nsinit.supervisor.states import State

log = structlog.get_logger()
T = TypeVar("T")

_RELOADED = "its configuration has changed"


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
        self._load = load
        self._context = context
        self._journal = journal
        self._reaper = reaper
        self._services = Services(project, context, self.shutdown)
        self._started_at = trio.current_time()
        self._reloading = trio.Lock()

    @property
    def exit_code(self) -> int:
        """The status to end with, once it has `stopped`."""
        return self._services.exit_code

    def fail(self, error: Exception) -> None:
        """A task of the supervisor's own has broken: say it, and stop all services in order."""
        self._services.fail(error)

    # Asking

    def list(self) -> Sequence[ServiceStatus]:
        """All services, by name."""
        now = trio.current_time()
        return [service.machine.status(now) for _, service in sorted(self._services.table.items())]

    def status(self, name: str) -> ServiceStatus:
        """One service."""
        return self._find(name).machine.status(trio.current_time())

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
            directory=self._services.project.directory,
            version=__version__,
            pid=os.getpid(),
            namespaces=self._context.isolated,
            orphans_reaped=self._reaper.orphans_reaped,
            uptime_s=trio.current_time() - self._started_at,
        )

    def logs(self, names: Sequence[str], tail: int | None) -> Sequence[LogLine]:
        """The lines kept in memory."""
        return self._journal.tail([self._find(name).name for name in names] or self._services.table, tail)

    def follow(self, names: Sequence[str]) -> AbstractAsyncContextManager[AsyncIterator[LogLine]]:
        """The lines from now on."""
        return self._journal.follow([self._find(name).name for name in names])

    def _find(self, name: str) -> Service:
        if name not in self._services.table:
            raise NoSuchService(f"there is no service {name}: `nsinit ps` lists them")
        return self._services.table[name]

    # Verbs

    def start_enabled(self) -> None:
        """Start what the files say is to be started, and what that needs."""
        self._services.request_start(self._enabled(), "starts with the supervisor")

    def _enabled(self) -> Sequence[str]:
        return [name for name, service in self._services.table.items() if service.config.startup == "enabled"]

    async def start(self, names: Sequence[str]) -> None:
        """Start them and what they need; return when they are up."""
        self._refuse_while_shutting_down()
        await self._shielded(self._start, [self._find(name) for name in names])

    async def _start(self, services: Sequence[Service]) -> None:
        self._services.request_start([service.name for service in services], "start requested")
        await self._services.until_up(services)

    async def stop(self, names: Sequence[str]) -> None:
        """Stop their dependents, then them; return when all are stopped."""
        await self._shielded(self._services.stop, [self._find(name).name for name in names])

    async def restart(self, names: Sequence[str]) -> None:
        """Stop and start them; return when they are up again."""
        self._refuse_while_shutting_down()
        await self._shielded(self._restart, [self._find(name) for name in names])

    async def _restart(self, named: Sequence[Service]) -> None:
        services = list(dict.fromkeys([*named, *self._services.alive_with(service.name for service in named)]))
        with returning(services):
            await self._services.stop_in_order(
                [service for service in services if not service.down], "restart requested"
            )
            self._services.request_start([service.name for service in services], "restart requested")
        await self._services.until_up(services)

    async def reload(self) -> ReloadReport:
        """Read the configuration again and apply what changed."""
        self._refuse_while_shutting_down()
        async with self._reloading:
            project = self._load()
            Graph(project.services)  # refuses what can't be ordered before anything is touched
            return await self._shielded(self._apply, project)

    async def _apply(self, project: Project) -> ReloadReport:
        services = self._services
        difference = compare(services.project, project)
        if difference.outer:
            log.warning("supervisor.needs_restart", keys=", ".join(difference.outer))
        removed = [services.table[name] for name in difference.removed]
        again = self._to_restart(project, difference)
        for service in removed:
            service.retired = True
        with returning(again):
            await services.stop_in_order([one for one in (*removed, *again) if not one.down], _RELOADED)
            self._refuse_while_shutting_down()
            services.exchange(project, removed, difference.added)
            for service in again:
                if service.machine.alive:  # somebody has started it meanwhile, as it was
                    services.post(service, ev.RestartRequested(_RELOADED))
            added = [name for name in difference.added if project.services[name].startup == "enabled"]
            services.request_start([*added, *(service.name for service in again)], _RELOADED)
        report = ReloadReport(
            added=[*difference.added],
            removed=[*difference.removed],
            restarted=[*difference.restarted],
            updated=[*difference.updated],
        )
        log.info("supervisor.reloaded", **{key: getattr(report, key) for key in report.__struct_fields__})
        return report

    def _to_restart(self, project: Project, difference: Difference) -> Sequence[Service]:
        """Those whose process has to change and that run or have failed, and those that say they follow them.

        No others: whoever needs one of them sees what a crash would show, and what its own file says about that.
        """
        table, graph = self._services.table, Graph(project.services)
        changed = [table[name] for name in difference.restarted]
        follow = {name for changed_name in difference.restarted for name in graph.restart_set(changed_name)}
        followers = [table[name] for name in sorted(follow - {*difference.restarted}) if name in table]
        # What had failed is tried anew: its file may have been what was wrong.
        restarted = [service for service in changed if not service.down or service.machine.state is State.FAILED]
        return [*restarted, *(service for service in followers if not service.down)]

    async def wait_up(self) -> None:
        """Return when all enabled services have come up; OperationFailed names those which will not."""
        await self._services.until_up([self._services.table[name] for name in self._enabled()])

    def shutdown(self) -> None:
        """Begin the ordered shutdown; a second call hastens it."""
        if self._services.closing:
            log.info("supervisor.hastens")
            for service in self._services.table.values():
                if service.machine.alive:
                    self._services.post(service, ev.KillRequested("the shutdown was hastened"))
            return
        self._services.closing = True
        log.info("supervisor.stopping")
        self._context.start(None, self._shut_down)

    async def _shut_down(self) -> None:
        try:
            await self._services.stop(list(self._services.table), "the supervisor shuts down")
            for service in self._services.table.values():
                if not service.broken:
                    service.close()
            log.info("supervisor.stopped", orphans_reaped=self._reaper.orphans_reaped)
        finally:
            self.stopped.set()

    def _refuse_while_shutting_down(self) -> None:
        if self._services.closing:
            raise OperationFailed("the supervisor is shutting down")

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
            except Exception as error:
                errors.append(OperationFailed(f"a bug in nsinit: {describe(error)['error']}: please report it"))
                raise
            finally:
                done.set()

        self._context.start(None, run)
        await done.wait()
        if not result:
            raise errors[0] if errors else OperationFailed("the supervisor has shut down")
        return result[0]
