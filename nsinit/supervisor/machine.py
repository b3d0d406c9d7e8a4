"""The life of one service, without any I/O: events in, actions out.

`handle` takes what has happened and the monotonic time, and returns what to do, in order. The machine keeps four
promises, whatever the order of events:

- at most one launch or process exists: no Spawn before the answer to the last one, and the exit of what it started;
- no timer outlives the state that started it: every change of state cancels it, and an expiry that was already on its
  way carries a serial that nobody awaits any more;
- what was asked for last wins: a start during a stop follows the stop, a stop during that cancels it;
- every state has a reason a person understands.

*waiting* is where every start begins, also a restart: dependencies are asked for again each time. A stop has a plan
for afterwards (`_Then`): rest, start again, or count as the failure of a service that did not become ready in time.

A launch can't be signalled before it has answered. A stop that comes in between waits for the answer, and the stop
timer already runs: a launch that hangs is killed like everything else.
"""

from enum import Enum, auto
from random import Random
from typing import assert_never

from nsinit.config.model import ServiceConfig
from nsinit.kernel.signals import signal_name
from nsinit.supervisor import events as ev
from nsinit.supervisor.model import ServiceStatus
from nsinit.supervisor.restart import RestartHistory, in_words, judge, wants_restart
from nsinit.supervisor.states import AT_REST, IllegalTransition, State, check_transition
from nsinit.supervisor.timer import Timer


class _Then(Enum):
    """What follows a stop."""

    REST = auto()
    START = auto()
    FAIL = auto()


class ServiceMachine:
    """One service: its state, why it is in it, and what its runs have come to.

    `restarts` counts restarts by policy since the last start that was asked for. `blocked` is true while it waits for
    something that won't happen by itself. `last_exit` is how the last run ended, None before the first end.
    """

    __slots__ = (
        "_actions", "_announced", "_early_ready", "_escalation", "_history", "_killed", "_launching", "_ran",
        "_rng", "_start_reason", "_stop_reason", "_then", "_timer", "_up_at", "blocked", "config", "init_pid",
        "last_exit", "pid", "reason", "restarts", "started_at", "state",
    )  # fmt: skip

    def __init__(self, config: ServiceConfig, rng: Random) -> None:
        self.config = config
        self.state = State.STOPPED
        self.reason = "not started yet" if config.startup == "enabled" else "disabled: starts when asked for or needed"
        self.restarts = 0
        self.blocked = False
        self.pid: int | None = None
        self.init_pid: int | None = None
        self.started_at: float | None = None
        self.last_exit: ev.Exited | None = None
        self._rng = rng
        self._history = RestartHistory()
        self._actions: list[ev.AnyAction] = []
        self._announced = self.state
        self._timer = Timer()
        self._launching = False
        self._early_ready = False
        self._up_at: float | None = None  # since when this run has been as good as it gets: executed, or ready
        self._ran = False  # the last run got as far as executing the command
        self._killed = False
        self._escalation = ""
        self._then = _Then.REST
        self._start_reason = ""
        self._stop_reason = ""

    @property
    def name(self) -> str:
        """The service's name."""
        return self.config.name

    @property
    def at_rest(self) -> bool:
        """It has no process, and nothing but a start request will change that."""
        return self.state in AT_REST

    @property
    def alive(self) -> bool:
        """It has processes, or is being launched."""
        return self._launching or self.pid is not None

    @property
    def starts_again(self) -> bool:
        """It is stopping, and a start follows."""
        return self.state is State.STOPPING and self._then is _Then.START

    def status(self, now: float) -> ServiceStatus:
        """The service as the control socket reports it."""
        last = self.last_exit
        return ServiceStatus(
            name=self.name,
            state=str(self.state),
            reason=self.reason,
            ready=self.state is State.READY,
            pid=self.pid,
            init_pid=self.init_pid,
            restarts=self.restarts,
            uptime_s=None if self.started_at is None else now - self.started_at,
            exit_code=None if last is None else last.exit_code,
            signal=None if last is None or last.signal is None else signal_name(last.signal),
            type=self.config.type,
            startup=self.config.startup,
        )

    def handle(self, event: ev.AnyEvent, now: float) -> list[ev.AnyAction]:
        """Take an event at monotonic time `now`; return what to do about it, in order.

        Raises:
            IllegalTransition: the driver reports a launch or an exit of something that does not exist.
        """
        match event:
            case ev.StartRequested(reason):
                self._start(reason)
            case ev.StopRequested(reason):
                self._stop(reason, _Then.REST)
            case ev.KillRequested(reason):
                self._kill_now(reason)
            case ev.RestartRequested(reason):
                self._replace(reason)
            case ev.DependenciesMet():
                self._launch()
            case ev.DependencyWait(waiting_for):
                self._wait(f"waiting for {waiting_for}", blocked=False)
            case ev.DependencyFailed(name, reason):
                self._wait(f"waiting for {name}, which is down: {reason}", blocked=True)
            case ev.Spawned(init_pid, pid):
                self._spawned(init_pid, pid, now)
            case ev.SpawnFailed(message, exit_code):
                self._spawn_failed(message, exit_code, now)
            case ev.Ready():
                self._ready(now)
            case ev.ExtendReady(seconds):
                self._extend_ready(seconds)
            case ev.Exited():
                self._exited(event, now)
            case ev.ReadyTimeout() | ev.StopTimeout() | ev.BackoffElapsed():
                self._elapsed(event, now)
            case ev.ConfigChanged(config):
                self._reconfigure(config)
            case _:
                assert_never(event)
        actions, self._actions = self._actions, []
        return actions

    # Requests

    def _start(self, reason: str) -> None:
        if self.at_rest or self.state is State.BACKOFF:
            self._start_afresh(reason)
        elif self.state is State.STOPPING and self._then is not _Then.START:
            self._then = _Then.START
            self._start_reason = reason
            self._explain(f"{self.reason}; starts again afterwards")

    def _start_afresh(self, reason: str) -> None:
        """Begin a start that was asked for: earlier failures are forgiven."""
        self._history = RestartHistory()
        self.restarts = 0
        self.last_exit = None
        self._queue(reason)

    def _queue(self, reason: str) -> None:
        # Nothing is announced: the driver's answer says whether this is a wait or a start.
        self._start_reason = reason
        self._become(State.WAITING, f"about to start ({reason})", announce=False)
        self._do(ev.CheckDependencies())

    def _stop(self, reason: str, then: _Then) -> None:
        if self.at_rest:
            return
        if not self.alive:
            self._become(State.STOPPED, reason)
        elif self.state is State.STOPPING:
            self._stop_again(reason, then)
        else:
            self._begin_stop(reason, then)

    def _replace(self, reason: str) -> None:
        # A stop under way stays what it is: a start behind it would revive what somebody stops for good.
        if self.alive and self.state is not State.STOPPING:
            self._start_reason = reason
            self._begin_stop(reason, _Then.START)

    def _begin_stop(self, reason: str, then: _Then) -> None:
        stop = self.config.stop
        self._plan_stop(reason, then)
        step = "still being launched" if self._launching else f"{signal_name(stop.signal)} sent"
        self._become(State.STOPPING, f"{reason}: {step}, SIGKILL in {in_words(stop.timeout_s)}")
        if not self._launching:
            self._do(ev.SendSignal(stop.signal, stop.scope))
        self._do(*self._timer.arm(ev.TimerKind.STOP, stop.timeout_s))

    def _plan_stop(self, reason: str, then: _Then) -> None:
        self._then, self._stop_reason = then, reason
        self._killed, self._escalation = False, ""

    def _stop_again(self, reason: str, then: _Then) -> None:
        """The stop under way goes on as it is; only what follows it changes."""
        if self._then is not then:
            self._then, self._stop_reason = then, reason
            self._explain(f"{reason}: already stopping")

    def _kill_now(self, reason: str) -> None:
        if not self.alive or self.state is State.STOPPING:
            self._stop(reason, _Then.REST)
        else:
            self._plan_stop(reason, _Then.REST)
            self._become(State.STOPPING, f"{reason}: SIGKILL sent to all of it")
        self._kill(f"{reason}: SIGKILL sent to all of it")

    def _kill(self, reason: str) -> None:
        if self.state is State.STOPPING and not self._killed:
            self._killed = True
            self._do(*self._timer.cancel())
            self._do(ev.KillAll())
            self._explain(reason)

    def _reconfigure(self, config: ServiceConfig) -> None:
        self.config = config
        if self.state is State.WAITING:
            self._do(ev.CheckDependencies())
        elif self.state is State.BACKOFF and config.restart.policy == "no":
            self._become(State.FAILED, f"{self.last_exit}, not restarted: the policy is now no")

    # Dependencies

    def _wait(self, reason: str, *, blocked: bool) -> None:
        if self.state is State.WAITING:
            self.blocked = blocked
            self._explain(reason)

    def _launch(self) -> None:
        if self.state is State.WAITING:
            self._launching, self._early_ready = True, False
            self._up_at = None
            self._become(State.STARTING, f"launching ({self._start_reason})")
            self._do(ev.Spawn())

    # The process

    def _spawned(self, init_pid: int, pid: int, now: float) -> None:
        if not self._launching:
            raise IllegalTransition(f"{self.name} was launched without having been asked to; please report this bug")
        self._launching = False
        self.init_pid, self.pid, self.started_at = init_pid, pid, now
        if self.state is State.STOPPING:
            stop = self.config.stop
            self._do(ev.KillAll() if self._killed else ev.SendSignal(stop.signal, stop.scope))
        elif self._early_ready:
            self._become_ready(f"up, sent READY=1 ({self._start_reason})", now)
        elif self.config.readiness.method == "notify":
            self._await_ready()
        elif self.config.type == "oneshot":
            self._up_at = now
            self._become(State.RUNNING, f"at work ({self._start_reason})")
        else:
            self._become_ready(f"up ({self._start_reason})", now)

    def _await_ready(self) -> None:
        timeout_s = self.config.readiness.timeout_s
        limit = f" within {in_words(timeout_s)}" if timeout_s else ""
        self._become(State.RUNNING, f"not ready yet: has to send READY=1{limit}")
        if timeout_s:
            self._do(*self._timer.arm(ev.TimerKind.READY, timeout_s))

    def _ready(self, now: float) -> None:
        # The notification and the answer to the launch come by different ways: either may be first.
        if self.config.readiness.method != "notify":
            return
        if self.state is State.STARTING:
            self._early_ready = True
        elif self.state in (State.RUNNING, State.UNREADY):
            self._become_ready(f"up, sent READY=1 ({self._start_reason})", now)

    def _become_ready(self, reason: str, now: float) -> None:
        if self._up_at is None:
            self._up_at = now
        self._become(State.READY, reason)

    def _extend_ready(self, seconds: float) -> None:
        if self._timer.kind is ev.TimerKind.READY:
            self._do(*self._timer.arm(ev.TimerKind.READY, seconds))

    def _spawn_failed(self, message: str, exit_code: int, now: float) -> None:
        if not self._launching:
            raise IllegalTransition(f"{self.name} failed to launch without being launched; please report this bug")
        self._gone(ev.Exited(exit_code=exit_code))
        if self.state is State.STOPPING:
            self._stopped(message, now)
        else:
            self._conclude(message, exit_code, success=False, healthy=False, now=now)

    def _exited(self, how: ev.Exited, now: float) -> None:
        if not self.alive:
            raise IllegalTransition(f"{self.name} exited without having run; please report this bug")
        self._gone(how)
        if self.state is State.STOPPING:
            self._stopped(str(how), now)
            return
        success, why = judge(self.config, how, executed=self._ran, ready=self._up_at is not None)
        healthy = self._up_at is not None and now - self._up_at >= self.config.restart.reset_after_s
        self._conclude(why, how.status, success=success, healthy=healthy, now=now)

    def _gone(self, how: ev.Exited) -> None:
        self._launching, self._ran = False, self.pid is not None
        self.pid = self.init_pid = self.started_at = None
        self.last_exit = how

    def _stopped(self, how: str, now: float) -> None:
        reason = f"{self._stop_reason} ({how}{self._escalation})"
        if self._then is _Then.FAIL:
            self._conclude(reason, None, success=False, healthy=False, now=now)
            return
        self._become(State.STOPPED, reason)
        if self._then is _Then.START:
            self._start_afresh(self._start_reason)
            self._tell_followers()

    # What follows

    def _conclude(self, why: str, status: int | None, *, success: bool, healthy: bool, now: float) -> None:
        """It has ended by itself: restart it now or later, or leave it."""
        restart = self.config.restart
        if not wants_restart(self.config, status, success=success):
            prevented = ", not restarted: one of prevent_exit_codes" if status in restart.prevent_exit_codes else ""
            self._become(State.COMPLETED if success else State.FAILED, why + prevented)
            return
        decision = self._history.next(restart, now, healthy=healthy, rng=self._rng)
        if decision is None:
            self._give_up(f"{why}, restart limit reached ({restart.limit} within {in_words(restart.window_s)})")
            return
        attempt = f"{why}, restart {decision.number}" + (f" of {restart.limit}" if restart.limit else "")
        if decision.delay_s > 0:
            self._start_reason = attempt
            self._become(State.BACKOFF, f"{attempt} in {in_words(decision.delay_s)}")
            self._do(*self._timer.arm(ev.TimerKind.BACKOFF, decision.delay_s))
        else:
            self._restart(attempt)
        self._tell_followers()

    def _give_up(self, reason: str) -> None:
        self._become(State.FAILED, reason)
        if self.config.restart.on_limit == "shutdown":
            self._do(ev.Shutdown(f"{self.name} failed: {reason}"))

    def _tell_followers(self) -> None:
        # A launch that failed took nothing away from anybody.
        if self._ran:
            self._do(ev.RestartFollowers())

    def _restart(self, reason: str) -> None:
        self.restarts += 1
        self._queue(reason)

    # Timers and state

    def _elapsed(self, event: ev.AnyExpiry, now: float) -> None:
        timer = self._timer.expire(event)
        if timer is None:
            return
        match event:
            case ev.ReadyTimeout():
                ran_s = timer.seconds if self.started_at is None else now - self.started_at
                self._stop(f"not ready within {in_words(ran_s)}", _Then.FAIL)
            case ev.StopTimeout():
                self._escalation = f": still there {in_words(timer.seconds)} after it was asked to stop"
                self._kill(f"{self._stop_reason}{self._escalation}, SIGKILL sent to all of it")
            case ev.BackoffElapsed():
                self._restart(self._start_reason)

    def _become(self, state: State, reason: str, *, announce: bool = True) -> None:
        check_transition(self.name, self.state, state)
        self._do(*self._timer.cancel())
        self.state, self.reason, self.blocked = state, reason, False
        if announce:
            self._announce()

    def _explain(self, reason: str) -> None:
        if reason != self.reason:
            self.reason = reason
            self._announce()

    def _announce(self) -> None:
        self._do(ev.Announce(self._announced, self.state, self.reason))
        self._announced = self.state

    def _do(self, *actions: ev.AnyAction) -> None:
        self._actions += actions
