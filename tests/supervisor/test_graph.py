"""Order, and who waits for whom: single verdicts first, then whole sets of services driven without any process."""

from collections.abc import Iterable, Mapping
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from nsinit.config.model import Dependency, Readiness, Restart, ServiceConfig
from nsinit.errors import InvalidConfig
from nsinit.supervisor import events as ev
from nsinit.supervisor.graph import Graph
from nsinit.supervisor.machine import ServiceMachine
from nsinit.supervisor.states import State

SOFT = Dependency(required=False)


class Standing(Struct):
    """One service's present."""

    state: State
    reason: str = "because"
    blocked: bool = False


def service(name: str, **keys: object) -> ServiceConfig:
    return ServiceConfig(name=name, path=f"/srv/{name}.toml", command=("/bin/true",), **keys)


def graph(*services: ServiceConfig) -> Graph:
    return Graph({config.name: config for config in services})


def pair(dependency: Dependency | None, **db: object) -> Graph:
    """Web comes after db: depending on it, or only ordered."""
    edge: dict[str, object] = {"after": ("db",)} if dependency is None else {"depends_on": {"db": dependency}}
    return graph(service("db", **db), service("web", **edge))


def verdict(of: Graph, state: State, *, blocked: bool = False) -> ev.AnyEvent:
    return of.verdict("web", {"db": Standing(state, blocked=blocked), "web": Standing(State.WAITING)})


# Order


def test_everything_comes_after_what_it_waits_for_and_names_decide_otherwise() -> None:
    found = graph(
        service("web", depends_on={"db": SOFT}),
        service("db", after=("disk",)),
        service("disk"),
        service("audit", before=("disk",)),
        service("zoo"),
    )
    assert found.order == ("audit", "zoo", "disk", "db", "web")


def test_a_cycle_is_printed_as_a_path() -> None:
    with pytest.raises(InvalidConfig) as caught:
        graph(service("a", after=("b",)), service("b", depends_on={"c": SOFT}), service("c", after=("a",)))
    path = str(caught.value).rpartition(": ")[2].split(" -> ")
    assert path[0] == path[-1]
    assert " -> ".join(path * 2).find("a -> b -> c") >= 0


def test_names_without_a_service_are_ignored() -> None:
    found = graph(service("web", after=("x",), before=("y",), depends_on={"z": SOFT}))
    assert found.needed(["web"]) == ["web"]
    assert found.verdict("web", {"web": Standing(State.WAITING)}) == ev.DependenciesMet()


@settings(deadline=None)
@given(st.data())
def test_every_order_respects_every_edge(data: st.DataObject) -> None:
    names = data.draw(st.permutations([f"s{number}" for number in range(8)]))
    services = []
    for at, name in enumerate(names):
        earlier = st.sets(st.sampled_from(names[:at])) if at else st.just(set())
        later = st.sets(st.sampled_from(names[at + 1 :])) if at < len(names) - 1 else st.just(set())
        services.append(
            service(
                name,
                after=tuple(data.draw(earlier)),
                before=tuple(data.draw(later)),
                depends_on=dict.fromkeys(data.draw(earlier), SOFT),
            )
        )
    order = graph(*services).order
    assert sorted(order) == sorted(names)
    for config in services:
        place = order.index(config.name)
        assert all(order.index(other) < place for other in (*config.after, *config.depends_on))
        assert all(order.index(other) > place for other in config.before)


# Closures


def chain() -> Graph:
    """app -> api -> db, and a cache that api could do without; log is only ordered."""
    return graph(
        service("db", after=("log",)),
        service("cache"),
        service("log"),
        service("api", depends_on={"db": Dependency(restart=True), "cache": SOFT}),
        service("app", depends_on={"api": Dependency(restart=True)}),
    )


def test_a_start_brings_along_all_dependencies_but_nothing_that_is_only_ordered() -> None:
    assert chain().needed(["app"]) == ["cache", "db", "api", "app"]


def test_a_stop_takes_down_all_that_require_it_first() -> None:
    assert chain().stop_set(["db"]) == ["app", "api", "db"]
    assert chain().stop_set(["cache"]) == ["cache"]
    assert chain().stop_set(["log"]) == ["log"]


def test_a_restart_is_followed_by_those_that_say_so_and_by_their_followers() -> None:
    assert chain().restart_set("db") == ["api", "app"]
    assert chain().restart_set("cache") == []


def test_a_service_is_stopped_once_all_that_come_after_it_and_are_to_be_stopped_are_at_rest() -> None:
    standings = {
        "db": Standing(State.READY),
        "cache": Standing(State.READY),
        "log": Standing(State.READY),
        "api": Standing(State.STOPPING),
        "app": Standing(State.FAILED),
    }
    assert chain().stop_blockers("db", standings.keys(), standings) == ["api"]
    assert chain().stop_blockers("log", standings.keys(), standings) == ["db"]
    assert chain().stop_blockers("log", ["log"], standings) == []
    assert chain().stop_blockers("api", standings.keys(), standings) == []


def test_those_concerned_by_a_change_are_all_that_come_after() -> None:
    assert chain().waiters("db") == ["api"]
    assert chain().waiters("log") == ["db"]
    assert chain().waiters("app") == []


# Verdicts

MET, BLOCKED = "met", "blocked"
CONDITIONS = {"started": "db to start", "ready": "db to be ready", "completed": "db to complete"}


@pytest.mark.parametrize(
    ("condition", "met", "hopeless"),
    [
        ("started", {"running", "ready", "unready", "frozen", "completed"}, {"stopped", "failed"}),
        ("ready", {"ready"}, {"stopped", "failed", "completed"}),
        ("completed", {"completed"}, {"stopped", "failed"}),
    ],
)
@pytest.mark.parametrize("state", State)
def test_a_required_dependency_is_waited_for_until_it_is_met_or_hopeless(
    condition: str, met: set[str], hopeless: set[str], state: State
) -> None:
    found = verdict(pair(Dependency(condition=condition)), state)
    if state in met:
        assert found == ev.DependenciesMet()
    elif state in hopeless:
        assert found == ev.DependencyFailed("db", "because")
    else:
        assert found == ev.DependencyWait(CONDITIONS[condition])


def test_a_oneshot_is_ready_when_it_has_completed() -> None:
    assert verdict(pair(Dependency(), type="oneshot"), State.COMPLETED) == ev.DependenciesMet()
    assert verdict(pair(Dependency(), type="oneshot"), State.RUNNING) == ev.DependencyWait("db to be ready")


@pytest.mark.parametrize("state", [State.STOPPED, State.FAILED, State.COMPLETED, State.BACKOFF])
def test_who_is_not_required_is_carried_on_without_after_its_first_failure(state: State) -> None:
    assert verdict(pair(SOFT), state) == ev.DependenciesMet()


@pytest.mark.parametrize("state", [State.WAITING, State.STARTING, State.RUNNING, State.UNREADY, State.STOPPING])
def test_who_is_not_required_is_waited_for_while_it_may_still_come(state: State) -> None:
    assert verdict(pair(SOFT), state) == ev.DependencyWait("db to be ready")


def test_who_is_not_required_and_only_asked_to_complete_is_waited_for_while_it_works() -> None:
    soft = Dependency(condition="completed", required=False)
    assert verdict(pair(soft), State.READY) == ev.DependencyWait("db to complete")


@pytest.mark.parametrize("state", State)
def test_an_order_waits_only_for_what_is_itself_on_its_way_up(state: State) -> None:
    waits = state in {State.WAITING, State.STARTING, State.RUNNING, State.STOPPING}
    expected = ev.DependencyWait("db to come up") if waits else ev.DependenciesMet()
    assert verdict(pair(None), state) == expected


def test_what_is_blocked_blocks_whom_it_is_required_by_and_nobody_else() -> None:
    assert verdict(pair(Dependency()), State.WAITING, blocked=True) == ev.DependencyFailed("db", "because")
    assert verdict(pair(SOFT), State.WAITING, blocked=True) == ev.DependenciesMet()
    assert verdict(pair(None), State.WAITING, blocked=True) == ev.DependenciesMet()


def test_all_that_is_waited_for_is_named() -> None:
    found = graph(
        service("db"),
        service("migrate", type="oneshot"),
        service("web", depends_on={"db": Dependency(), "migrate": Dependency(condition="completed")}),
    )
    standings = {name: Standing(State.STARTING) for name in found.order}
    assert found.verdict("web", standings) == ev.DependencyWait("db to be ready and migrate to complete")


# Whole sets of services


class Fleet:
    """Machines and their graph, driven as the supervisor does, with a world that launches and stops at once."""

    def __init__(self, *services: ServiceConfig) -> None:
        self.graph = graph(*services)
        self.machines = {config.name: ServiceMachine(config, Random(0)) for config in services}
        self.timers: dict[str, ev.StartTimer] = {}
        self.history: list[str] = []
        self.broken: set[str] = set()  # those whose launch fails
        self.stopping: set[str] = set()
        self.now = 0.0

    def tell(self, name: str, event: ev.AnyEvent) -> None:
        todo = [(name, event)]
        while todo:
            name, event = todo.pop(0)
            for action in self.machines[name].handle(event, self.now):
                todo += self.obey(name, action)

    def obey(self, name: str, action: ev.AnyAction) -> Iterable[tuple[str, ev.AnyEvent]]:
        match action:
            case ev.CheckDependencies():
                yield name, self.graph.verdict(name, self.machines)
            case ev.Announce(previous, state):
                if previous is not state:
                    self.history.append(f"{name} {state}")
                # Also when only the reason is new: that is how a wait becomes a block.
                for other in self.graph.waiters(name):
                    if self.machines[other].state is State.WAITING:
                        yield other, self.graph.verdict(other, self.machines)
            case ev.Spawn():
                failed = name in self.broken
                yield name, ev.SpawnFailed("cannot exec", 127) if failed else ev.Spawned(10, 11)
            case ev.SendSignal(signal):
                yield name, ev.Exited(signal=signal)
            case ev.StartTimer():
                self.timers[name] = action
            case ev.CancelTimer():
                del self.timers[name]
            case ev.RestartFollowers():
                for other in self.graph.restart_set(name):
                    yield other, ev.RestartRequested(f"{name} was restarted")

    def start(self, *names: str) -> None:
        for name in self.graph.needed(names):
            self.tell(name, ev.StartRequested())

    def stop(self, *names: str) -> None:
        for name in (stop_set := self.graph.stop_set(names)):
            assert self.graph.stop_blockers(name, stop_set, self.machines) == []
            self.tell(name, ev.StopRequested())

    def elapse(self, name: str) -> None:
        timer = self.timers.pop(name)
        self.now += timer.seconds
        self.tell(name, timer.event)

    def states(self) -> Mapping[str, str]:
        return {name: str(machine.state) for name, machine in sorted(self.machines.items())}


NOTIFY = Readiness(method="notify")


def fleet(dependency: Dependency, **db: object) -> Fleet:
    return Fleet(service("web", depends_on={"db": dependency}), service("db", **db))


def test_a_dependent_starts_by_itself_when_its_dependency_gets_ready() -> None:
    both = fleet(Dependency(), readiness=NOTIFY)
    both.start("web")
    assert both.machines["web"].reason == "waiting for db to be ready"
    both.tell("db", ev.Ready())
    assert both.states() == {"db": "ready", "web": "ready"}


def test_a_dependent_starts_however_often_its_dependency_failed_before() -> None:
    both = fleet(Dependency(), restart=Restart(limit=3))
    both.broken = {"db"}
    both.start("web")
    for _ in range(3):
        assert both.states() == {"db": "backoff", "web": "waiting"}
        both.elapse("db")
    assert both.states() == {"db": "failed", "web": "waiting"}
    assert both.machines["web"].blocked
    assert both.machines["web"].reason.startswith("waiting for db, which is down: cannot exec, restart limit reached")
    both.broken.clear()
    both.start("db")
    assert both.states() == {"db": "ready", "web": "ready"}


def test_a_stop_of_a_dependency_stops_its_dependents_first() -> None:
    both = fleet(Dependency())
    both.start("web")
    both.history.clear()
    both.stop("db")
    assert both.history == ["web stopping", "web stopped", "db stopping", "db stopped"]


def test_a_crash_of_a_dependency_leaves_its_dependents_running() -> None:
    both = fleet(Dependency())
    both.start("web")
    both.tell("db", ev.Exited(exit_code=3))
    assert both.states() == {"db": "backoff", "web": "ready"}


def test_a_crash_takes_those_down_who_said_so_and_they_come_back_after_it() -> None:
    both = fleet(Dependency(restart=True))
    both.start("web")
    both.tell("db", ev.Exited(exit_code=3))
    assert both.states() == {"db": "backoff", "web": "waiting"}
    both.history.clear()
    both.elapse("db")
    assert both.history == ["db starting", "db ready", "web starting", "web ready"]


def test_a_chain_that_is_blocked_says_so_to_its_end() -> None:
    three = Fleet(
        service("db", restart=Restart(policy="no")),
        service("api", depends_on={"db": Dependency()}),
        service("web", depends_on={"api": Dependency()}),
    )
    three.broken = {"db"}
    three.start("web")
    reason = "waiting for api, which is down: waiting for db, which is down: cannot exec"
    assert three.machines["web"].reason == reason
    assert three.machines["web"].blocked


@settings(deadline=None)
@given(st.data())
def test_whatever_happened_a_fleet_stops_in_reverse_order(data: st.DataObject) -> None:
    names = [f"s{number}" for number in range(5)]
    dependencies = st.builds(Dependency, required=st.booleans(), restart=st.booleans())
    services = [
        service(name, depends_on=data.draw(st.dictionaries(st.sampled_from(names[:at]), dependencies)) if at else {})
        for at, name in enumerate(names)
    ]
    all_of_it = Fleet(*services)
    all_of_it.start(*names)
    assert set(all_of_it.states().values()) == {"ready"}
    for name in data.draw(st.lists(st.sampled_from(names), max_size=4)):
        if all_of_it.machines[name].alive:
            all_of_it.tell(name, ev.Exited(exit_code=3))
        elif name in all_of_it.timers:
            all_of_it.elapse(name)
    all_of_it.history.clear()
    all_of_it.stop(*names)
    assert all(machine.at_rest for machine in all_of_it.machines.values())
    assert not all_of_it.timers
    stops = [line.split()[0] for line in all_of_it.history if line.endswith("stopped")]
    assert stops == sorted(stops, key=all_of_it.graph.order.index, reverse=True)
