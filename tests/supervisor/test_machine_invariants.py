"""What holds for a service's machine in any order of events, stale and impossible-looking ones included."""

from itertools import pairwise
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nsinit.config.model import Readiness, Restart, ServiceConfig, Stop
from nsinit.supervisor import events as ev
from nsinit.supervisor.machine import ServiceMachine
from nsinit.supervisor.states import TRANSITIONS, UP, State

RESTARTS = st.builds(
    Restart,
    policy=st.sampled_from(["always", "on-failure", "no"]),
    delay_s=st.sampled_from([0.0, 0.5]),
    limit=st.sampled_from([0, 1, 3]),
    window_s=st.sampled_from([1.0, 600.0]),
    on_limit=st.sampled_from(["fail", "shutdown"]),
    prevent_exit_codes=st.sampled_from([(), (3,)]),
)
CONFIGS = st.builds(
    ServiceConfig,
    name=st.just("web"),
    path=st.just("/srv/web.toml"),
    command=st.just(("/usr/bin/web",)),
    type=st.sampled_from(["simple", "oneshot"]),
    readiness=st.builds(Readiness, method=st.sampled_from(["none", "notify"]), timeout_s=st.sampled_from([0.0, 60.0])),
    restart=RESTARTS,
    stop=st.builds(Stop, timeout_s=st.sampled_from([0.0, 10.0])),
)
EXITS = st.one_of(
    st.builds(ev.Exited, exit_code=st.sampled_from([0, 3, 143])), st.builds(ev.Exited, signal=st.sampled_from([9, 15]))
)
ANSWERS = st.sampled_from(
    [ev.DependenciesMet(), ev.DependencyWait("db to be ready"), ev.DependencyFailed("db", "exit 3")]
)


class World(RuleBasedStateMachine):
    """The world around one machine. It only reports what can have happened; requests and late timers come any time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.launching = False
        self.process = False
        self.timer: ev.StartTimer | None = None
        self.past: list[ev.AnyExpiry] = []
        self.killed = False
        self.announced = State.STOPPED

    @initialize(config=CONFIGS, seed=st.integers(0, 3))
    def configure(self, config: ServiceConfig, seed: int) -> None:
        self.machine = ServiceMachine(config, Random(seed))

    def tell(self, event: ev.AnyEvent) -> list[ev.AnyAction]:
        actions = self.machine.handle(event, self.now)
        for action in actions:
            self.obey(action)
        return actions

    def obey(self, action: ev.AnyAction) -> None:
        match action:
            case ev.Spawn():
                assert not self.launching and not self.process, "a second Spawn without an exit between"
                assert self.machine.state is State.STARTING
                self.launching, self.killed = True, False
            case ev.SendSignal():
                assert self.process, "a signal without a process"
                assert self.machine.state is State.STOPPING
            case ev.KillAll():
                assert self.launching or self.process, "a kill with nobody to kill"
                self.killed = True
            case ev.StartTimer():
                assert self.timer is None, "a second timer"
                self.timer = action
            case ev.CancelTimer():
                assert self.timer is not None and self.timer.kind is action.kind, "a cancel of what isn't armed"
                self.past.append(self.timer.event)
                self.timer = None
            case ev.Announce():
                assert action.previous is self.announced
                self.announced = action.state
            case ev.CheckDependencies() | ev.RestartFollowers() | ev.Shutdown():
                pass

    @rule(seconds=st.sampled_from([0.1, 31.0, 700.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds

    @rule(answer=ANSWERS)
    def answer_about_dependencies(self, answer: ev.AnyEvent) -> None:
        self.tell(answer)

    @rule()
    def ask_for_a_start(self) -> None:
        self.tell(ev.StartRequested())
        assert self.machine.state is not State.BACKOFF
        assert not self.machine.at_rest, "a start was lost"

    @rule()
    def ask_for_a_stop(self) -> None:
        self.tell(ev.StopRequested())
        assert self.machine.at_rest or (self.machine.state is State.STOPPING and not self.machine.starts_again)

    @rule()
    def ask_for_a_kill(self) -> None:
        self.tell(ev.KillRequested())
        assert self.machine.at_rest or self.killed

    @rule()
    def ask_for_a_replacement(self) -> None:
        rest = self.machine.at_rest
        again = self.machine.starts_again
        before = self.machine.state
        self.tell(ev.RestartRequested())
        assert self.machine.at_rest == rest
        if before is State.STOPPING:
            assert self.machine.starts_again == again, "a stop was turned into a start"

    @precondition(lambda self: self.launching)
    @rule()
    def the_launch_succeeds(self) -> None:
        self.launching, self.process = False, True
        self.tell(ev.Spawned(10, 11))

    @precondition(lambda self: self.launching)
    @rule()
    def the_launch_fails(self) -> None:
        self.launching = False
        self.tell(ev.SpawnFailed("cannot exec /usr/bin/web: ENOENT", 127))

    @precondition(lambda self: self.launching or self.process)
    @rule(how=EXITS)
    def it_exits(self, how: ev.Exited) -> None:
        self.launching = self.process = False
        before = self.machine.state
        asked = before is State.STOPPING and "requested" in self.machine.reason
        again = self.machine.starts_again
        self.tell(how)
        if asked and not again:
            assert self.machine.state is State.STOPPED, "an exit after a stop is stopped, whatever the code"

    @rule()
    def it_says_that_it_is_ready(self) -> None:
        self.tell(ev.Ready())

    @rule()
    def it_asks_for_more_time(self) -> None:
        self.tell(ev.ExtendReady(5.0))

    @rule(config=CONFIGS)
    def the_policy_changes(self, config: ServiceConfig) -> None:
        old = self.machine.config
        self.tell(ev.ConfigChanged(old.__class__(**{**_fields(old), "restart": config.restart, "stop": config.stop})))

    @precondition(lambda self: self.timer is not None)
    @rule()
    def the_timer_runs_out(self) -> None:
        assert self.timer is not None
        timer, self.timer = self.timer, None
        self.now += timer.seconds
        self.past.append(timer.event)
        self.tell(timer.event)

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def a_timer_fires_late(self, data: st.DataObject) -> None:
        before = self.machine.state, self.machine.reason
        assert self.tell(data.draw(st.sampled_from(self.past))) == []
        assert (self.machine.state, self.machine.reason) == before

    @invariant()
    def there_is_a_reason(self) -> None:
        if hasattr(self, "machine"):
            assert self.machine.reason.strip()

    @invariant()
    def the_state_matches_the_world(self) -> None:
        if not hasattr(self, "machine"):
            return
        state = self.machine.state
        assert self.machine.alive == (self.launching or self.process)
        assert self.launching == (state is State.STARTING) or state is State.STOPPING
        assert self.process == (state in UP) or state is State.STOPPING
        # A wait is announced once its driver has said what for.
        assert self.announced is state or state is State.WAITING

    @invariant()
    def the_right_timer_is_armed(self) -> None:
        if not hasattr(self, "machine"):
            return
        kind = None if self.timer is None else self.timer.kind
        match self.machine.state:
            case State.BACKOFF:
                assert kind is ev.TimerKind.BACKOFF
            case State.STOPPING:
                assert kind is (None if self.killed else ev.TimerKind.STOP)
            case State.RUNNING:
                notify = self.machine.config.readiness
                assert (kind is ev.TimerKind.READY) == (notify.method == "notify" and notify.timeout_s > 0)
            case _:
                assert kind is None

    def teardown(self) -> None:
        """Whatever has happened: a stop, and a world that obeys, end in rest with nothing left."""
        if not hasattr(self, "machine"):
            return
        self.tell(ev.StopRequested())
        if self.launching:
            self.the_launch_succeeds()
        if self.process:
            self.process = False
            self.tell(ev.Exited(signal=15))
        assert self.machine.at_rest
        assert self.timer is None
        assert self.machine.pid is None


def _fields(config: ServiceConfig) -> dict[str, object]:
    return {name: getattr(config, name) for name in config.__struct_fields__}


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


class Walker(World):
    """The same world, walked by a seeded die, to see which transitions there are."""

    def __init__(self, config: ServiceConfig, die: Random) -> None:
        super().__init__()
        self.machine = ServiceMachine(config, die)
        self.die = die
        self.path = [self.machine.state]

    def step(self) -> None:
        exits = [ev.Exited(exit_code=0), ev.Exited(exit_code=3)]
        moves = [
            self.ask_for_a_start,
            lambda: self.die.random() < 0.3 and self.ask_for_a_stop(),
            lambda: self.tell(ev.DependenciesMet()),
            lambda: self.tell(ev.Ready()),
            lambda: self.launching and self.the_launch_succeeds(),
            lambda: self.launching and self.the_launch_fails(),
            lambda: (self.launching or self.process) and self.it_exits(self.die.choice(exits)),
            lambda: self.timer and self.the_timer_runs_out(),
            lambda: self.the_policy_changes(_config("no")) if self.die.random() < 0.1 else None,
        ]
        self.die.choice(moves)()
        self.path.append(self.machine.state)


def _config(policy: str, **keys: object) -> ServiceConfig:
    restart = Restart(policy=policy, limit=2, delay_s=keys.pop("delay_s", 0.5))
    return ServiceConfig(name="web", path="/srv/web.toml", command=("/usr/bin/web",), restart=restart, **keys)


def test_the_table_has_no_transition_that_no_event_takes() -> None:
    die = Random(0)
    taken: set[tuple[State, State]] = set()
    for policy in ("always", "on-failure", "no"):
        for kind in ("simple", "oneshot"):
            for method in ("none", "notify"):
                for delay_s in (0.0, 0.5):
                    config = _config(policy, type=kind, readiness=Readiness(method=method), delay_s=delay_s)
                    for _ in range(40):
                        walker = Walker(config, die)
                        for _ in range(25):
                            walker.step()
                        taken |= set(pairwise(walker.path))
    later = {State.UNREADY, State.FROZEN}  # states of the interface that nothing leads to yet
    table = {(old, new) for old, news in TRANSITIONS.items() for new in news if not {old, new} & later}
    assert table <= taken
