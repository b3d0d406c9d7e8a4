"""All services and the order among them: their events, and what the verbs are made of.

Everything that happens is an event for one service's machine. Events are handled one by one, to the end, and without
awaiting: whatever the order in which the world or the users come, no two decisions overlap. A verb posts events and
then waits until the machines have got where it wants them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import structlog
import trio

from nsinit.config import Project
from nsinit.errors import NsinitError, OperationFailed
from nsinit.supervisor import events as ev
from nsinit.supervisor.faults import describe
from nsinit.supervisor.graph import Graph
from nsinit.supervisor.output import Journal
from nsinit.supervisor.service import Context, Service
from nsinit.supervisor.states import State

log = structlog.get_logger()


class Services:
    """The services of a project by name (`table`), in the order that `graph` gives them.

    `shutdown` begins the end of the supervisor; from then on `closing` is set, and nothing is started any more.
    `exit_code` is the status that the supervisor is to end with.
    """

    def __init__(self, project: Project, context: Context, shutdown: Callable[[], None]) -> None:
        self.project = project
        self.graph = Graph(project.services)
        self.table: dict[str, Service] = {}
        self.closing = False
        self.exit_code = 0
        self._context = context
        self._shutdown = shutdown
        self._queue: deque[tuple[Service, ev.AnyEvent]] = deque()
        self._handling = False
        self._changed = trio.Event()
        context.failed = self.fail
        for name in project.services:
            self._add(name)

    def _add(self, name: str) -> None:
        service = Service(self.project.services[name], self._context, self.post)
        self.table[name] = service
        self._context.start(service, service.run)

    def exchange(self, project: Project, removed: Sequence[Service], added: Iterable[str]) -> None:
        """Another project takes the place of this one; what is removed is at rest."""
        for service in removed:
            del self.table[service.name]
            service.close()
            self._context.journal.forget(service.name)
        self.project, self.graph = project, Graph(project.services)
        for name in added:
            self._add(name)
        for service in self.table.values():
            if service.name in project.services and service.machine.config != project.services[service.name]:
                self.post(service, ev.ConfigChanged(project.services[service.name]))
        for service in self.table.values():
            if service.machine.state is State.WAITING:
                self.post(service, self._verdict(service))

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
        self._wake()
        self._check_exit()

    def _handle(self, service: Service, event: ev.AnyEvent) -> None:
        wanted_up = isinstance(event, ev.StartRequested | ev.RestartRequested)
        if service.broken or (service.retired and wanted_up):
            return
        try:
            for action in service.machine.handle(event, trio.current_time()):
                self._act(service, action)
        except Exception as error:
            self.fail(error, service)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def fail(self, error: Exception, service: Service | None = None) -> None:
        """Answer a bug: say it, kill the service it has left undefined, and stop the others in order."""
        self.exit_code = NsinitError.exit_code
        where = log if service is None else service.log
        where.error("supervisor.bug", **describe(error), remedy="please report it; all services are stopped now")
        if service is not None and not service.broken:
            service.broken = True
            service.kill_all()
        self._wake()
        if not self.closing:
            self._shutdown()

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
                self.give_up(reason)
            case ev.Announce(_, state, reason):
                self._announce(service, state, reason)

    def _announce(self, service: Service, state: State, reason: str) -> None:
        if state is State.READY or state is State.COMPLETED:
            service.been_up = True
        level = "warning" if state in (State.FAILED, State.BACKOFF) else "info"
        getattr(service.log, level)(f"service.{state}", reason=reason)
        # Also when only the reason is new: a wait that has become hopeless makes those behind it hopeless.
        for name in self.graph.waiters(service.name):
            waiter = self.table.get(name)
            if waiter is not None and waiter.machine.state is State.WAITING:
                self._tell_verdict(waiter)

    def _tell_verdict(self, service: Service) -> None:
        self._queue.append((service, self._verdict(service)))

    def _verdict(self, service: Service) -> ev.AnyEvent:
        return self.graph.verdict(service.name, {name: other.machine for name, other in self.table.items()})

    def _restart_followers(self, name: str) -> None:
        for follower in self.graph.restart_set(name):
            self._queue.append((self.table[follower], ev.RestartRequested(f"{name} was restarted")))

    def give_up(self, reason: str) -> None:
        """End the supervisor in order, and let whoever started it know that this is no success."""
        if not self.closing:
            self.exit_code = OperationFailed.exit_code
            log.error("supervisor.gives_up", reason=reason)
            self._shutdown()

    def _check_exit(self) -> None:
        exit_when = self.project.supervisor.exit_when
        services = self.table.values()
        if self.closing or exit_when == "never" or not services:
            return
        failed = [service.name for service in services if service.machine.state is State.FAILED]
        if failed and exit_when == "any-failed":
            self.give_up(f"{failed[0]} has failed, and exit_when is any-failed")
        elif exit_when == "all-stopped" and all(service.down and not service.returning for service in services):
            if failed:
                self.give_up(f"all services have ended, {', '.join(failed)} by failing")
            else:
                log.info("supervisor.exits", reason="all services have ended, and exit_when is all-stopped")
                self._shutdown()

    # What the verbs are made of

    async def until(self, reached: Callable[[], bool]) -> None:
        """Return as soon as `reached` holds; it is asked after every event."""
        while not reached():
            await self._changed.wait()

    def request_start(self, names: Iterable[str], reason: str) -> None:
        """Ask these services, and what they need, to start; return at once."""
        wanted = {name for name in names if name in self.table}
        for name in self.graph.needed(wanted):
            service = self.table[name]
            if name not in wanted and not _needs_a_push(service):
                continue
            service.been_up = service.machine.state is State.READY
            if not self.closing:
                self.post(service, ev.StartRequested(reason if name in wanted else "needed by another service"))

    async def until_up(self, services: Sequence[Service]) -> None:
        """Return when all of these have come up.

        Raises:
            OperationFailed: it names those which have not, what holds them up, and why.
        """
        await self.until(lambda: all(self._settled(service) for service in services))
        missing = [service.name for service in services if not service.been_up]
        if missing:
            # Those that hold the missing ones up are named as well.
            needed = [self.table[name] for name in self.graph.needed(set(missing) & self.table.keys())]
            culprits = [service for service in needed if self._settled(service) and not service.been_up]
            gone = [service for service in services if not service.been_up and service not in culprits]
            raise OperationFailed(
                "\n".join(_complaint(service, self._context.journal) for service in [*culprits, *gone])
            )

    def _settled(self, service: Service) -> bool:
        """It has come up, or won't without help, or has failed at least once."""
        machine = service.machine
        if service.been_up or service.broken or machine.blocked or machine.state is State.BACKOFF:
            return True
        if machine.at_rest:
            return not service.returning
        if machine.state is not State.WAITING:
            return False
        required = [name for name, dependency in service.config.depends_on.items() if dependency.required]
        others = [self.table[name] for name in required if name in self.table]
        return any(self._settled(other) and not other.been_up for other in others)

    async def stop(self, names: Iterable[str], reason: str = "stop requested") -> None:
        """Stop these services after all that require them; return when all are at rest."""
        known = [name for name in names if name in self.table]
        affected = [self.table[name] for name in self.graph.stop_set(known)]
        await self.stop_in_order([service for service in affected if not service.down], reason)

    async def stop_in_order(self, services: Sequence[Service], reason: str) -> None:
        """Stop each after those that come after it, independent ones side by side; who has no process, at once."""
        left = {service.name for service in services}
        later = {service.name: left.intersection(self.graph.waiters(service.name)) for service in services}

        async def stop(service: Service) -> None:
            await self.until(lambda: not left & later[service.name] or not service.machine.alive)
            self.post(service, ev.StopRequested(reason))
            # A start that was asked for meanwhile wins over this stop.
            await self.until(lambda: service.down or service.machine.starts_again)
            left.discard(service.name)
            self._wake()

        async with trio.open_nursery() as nursery:
            for service in services:
                nursery.start_soon(stop, service)

    def alive_with(self, names: Iterable[str]) -> Sequence[Service]:
        """Those not at rest that go down when `names` do, or want to be restarted with them."""
        named = [name for name in names if name in self.table]
        followers = [follower for name in named for follower in self.graph.restart_set(name)]
        affected = [self.table[name] for name in self.graph.stop_set([*named, *followers])]
        return [service for service in affected if not service.down]


@contextmanager
def returning(services: Sequence[Service]) -> Iterator[None]:
    """Whoever looks at these services while they are down shall know that they are coming back."""
    for service in services:
        service.returning += 1
    try:
        yield
    finally:
        for service in services:
            service.returning -= 1


def _needs_a_push(service: Service) -> bool:
    """Whether a service that is only needed comes up sooner if it is asked to."""
    machine = service.machine
    if machine.state is State.COMPLETED:
        return service.config.type != "oneshot"  # one that has done its work has done it
    going_down = machine.state is State.STOPPING and not machine.starts_again
    return going_down or machine.at_rest or machine.state is State.BACKOFF


def _complaint(service: Service, journal: Journal) -> str:
    machine = service.machine
    lines = [f"{service.name} is not up: {machine.state}: {machine.reason}"]
    lines += [f"  {service.name} | {line.text}" for line in journal.tail([service.name], 5)]
    return "\n".join(lines)
