"""Who waits for whom: the order of starts and stops, and what holds a service back right now.

Three kinds of edges lead from a service to what it comes after:

depends_on, required       it does not start without the other, and is stopped before the other is
depends_on, not required   it brings the other along and waits for it, but carries on without it
after (and before)         it only waits for the other if that is on its way up by itself

Who is not required holds nobody for longer than its first attempt: in backoff it has failed, even if it tries again.
Whoever is required is waited for, however often it fails; only once it has given up, or was stopped, is its dependent
`blocked`, and even then it starts by itself as soon as somebody brings the other one up.

A stop travels along required edges, a crash does not travel at all, and a restart only along edges that say so.
"""

from collections.abc import Collection, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Protocol

from nsinit.config.model import ServiceConfig
from nsinit.errors import InvalidConfig
from nsinit.supervisor.events import DependenciesMet, DependencyFailed, DependencyWait
from nsinit.supervisor.states import AT_REST, UP, State

Edges = dict[str, set[str]]

_CONDITION_IN_WORDS = {"started": "to start", "ready": "to be ready", "completed": "to complete"}


class Standing(Protocol):
    """What the graph has to know of a service's present; a ServiceMachine is one."""

    @property
    def state(self) -> State: ...

    @property
    def reason(self) -> str: ...

    @property
    def blocked(self) -> bool: ...


class Graph:
    """The services of a project, and the edges between them. Names that no service has are ignored."""

    __slots__ = ("_after", "_before", "_depends", "_following", "_requiring", "_services", "order")

    order: tuple[str, ...]  # every service after those it waits for

    def __init__(self, services: Mapping[str, ServiceConfig]) -> None:
        """Sort the services.

        Raises:
            InvalidConfig: they wait for each other in a circle.
        """
        self._services = services
        self._before: Edges = {name: set() for name in sorted(services)}  # to each, those that come before it
        self._depends: Edges = {name: set() for name in services}  # to each, those it brings along
        self._requiring: Edges = {name: set() for name in services}  # to each, those that can't do without it
        self._following: Edges = {name: set() for name in services}  # to each, those that are restarted with it
        for name, config in services.items():
            self._add(name, config)
        self.order = _sort(self._before)
        self._after: Edges = {name: set() for name in self.order}  # to each, those that come after it
        for name, earlier in self._before.items():
            for other in earlier:
                self._after[other].add(name)

    def _add(self, name: str, config: ServiceConfig) -> None:
        known = self._services.keys()
        self._before[name] |= (config.depends_on.keys() | set(config.after)) & known
        for later in set(config.before) & known:
            self._before[later].add(name)
        for other in config.depends_on.keys() & known:
            self._depends[name].add(other)
            if config.depends_on[other].required:
                self._requiring[other].add(name)
            if config.depends_on[other].restart:
                self._following[other].add(name)

    def needed(self, names: Iterable[str]) -> list[str]:
        """These services and all that they depend on, required or not, in the order of their start."""
        return self._in_order(_closure(names, self._depends))

    def stop_set(self, names: Iterable[str]) -> list[str]:
        """These services and all that require them, in the order of their stop."""
        return self._in_order(_closure(names, self._requiring))[::-1]

    def restart_set(self, name: str) -> list[str]:
        """The services that want to be restarted when `name` is, without itself, in the order of their start."""
        return [other for other in self._in_order(_closure([name], self._following)) if other != name]

    def waiters(self, name: str) -> list[str]:
        """The services whose verdict depends on `name`, in the order of their start."""
        return self._in_order(self._after[name])

    def verdict(
        self, name: str, standings: Mapping[str, Standing]
    ) -> DependenciesMet | DependencyWait | DependencyFailed:
        """Whether a waiting service may start now, as the event to tell its machine."""
        config, waits = self._services[name], []
        for other in sorted(self._before[name] & standings.keys()):
            standing, dependency = standings[other], config.depends_on.get(other)
            if dependency is None:
                if _on_its_way(standing):
                    waits.append(f"{other} to come up")
            elif not self._met(other, dependency.condition, standing):
                if dependency.required and _hopeless(standing):
                    return DependencyFailed(other, standing.reason)
                if dependency.required or _on_its_way(standing) or standing.state in UP:
                    waits.append(f"{other} {_CONDITION_IN_WORDS[dependency.condition]}")
        return DependencyWait(" and ".join(waits)) if waits else DependenciesMet()

    def stop_blockers(self, name: str, stopping: Collection[str], standings: Mapping[str, Standing]) -> list[str]:
        """Those of `stopping` that must be at rest before `name` is stopped: what comes after it."""
        return sorted(
            other for other in self._after[name] if other in stopping and standings[other].state not in AT_REST
        )

    def _met(self, name: str, condition: str, standing: Standing) -> bool:
        match condition:
            case "started":
                return standing.state in UP or standing.state is State.COMPLETED
            case "ready" if self._services[name].type != "oneshot":
                return standing.state is State.READY
            case "ready":
                return standing.state in (State.READY, State.COMPLETED)
            case _:
                return standing.state is State.COMPLETED

    def _in_order(self, names: Collection[str]) -> list[str]:
        return [name for name in self.order if name in names]


def _on_its_way(standing: Standing) -> bool:
    """Not up yet, but soon, without a failure so far."""
    match standing.state:
        case State.WAITING:
            return not standing.blocked
        case State.STARTING | State.RUNNING | State.STOPPING:
            return True
        case _:
            return False


def _hopeless(standing: Standing) -> bool:
    """Nothing will bring it up, or to its end, by itself."""
    return standing.state in AT_REST or (standing.state is State.WAITING and standing.blocked)


def _closure(names: Iterable[str], edges: Edges) -> set[str]:
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo.extend(edges[name])
    return found


def _sort(before: Edges) -> tuple[str, ...]:
    try:
        return tuple(TopologicalSorter({name: sorted(earlier) for name, earlier in before.items()}).static_order())
    except CycleError as error:
        path = error.args[1][::-1]  # graphlib's leads from the earlier to the later one; ours says who waits for whom
        raise InvalidConfig(f"services wait for each other in a circle: {' -> '.join(path)}") from None
