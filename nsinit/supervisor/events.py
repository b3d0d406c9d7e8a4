"""What can happen to a service, and what its state machine wants done about it. Data only.

Times are seconds. Signals are numbers. The driver (trio) turns the world into events and actions into the world; it
never looks inside the machine to decide, and the machine never touches the world.
"""

from enum import StrEnum
from typing import Literal

from msgspec import Struct

from nsinit.config.model import ServiceConfig
from nsinit.kernel.signals import signal_name
from nsinit.supervisor.states import State

Scope = Literal["main", "group", "all"]


class Event(Struct, frozen=True):
    """Something that happened to one service, or that someone wants of it."""


class StartRequested(Event, frozen=True):
    """Someone wants it up. Also cuts a backoff short, revives a failed service and follows a stop under way."""

    reason: str = "start requested"


class StopRequested(Event, frozen=True):
    """Someone wants it down: politely, then with SIGKILL. Also cancels a start queued behind a stop."""

    reason: str = "stop requested"


class KillRequested(Event, frozen=True):
    """Someone wants it down at once: SIGKILL, also when a polite stop is under way."""

    reason: str = "kill requested"


class RestartRequested(Event, frozen=True):
    """Someone wants a new process in the place of the one it has. Without one, or with a stop under way, it is moot."""

    reason: str = "restart requested"


class DependencyWait(Event, frozen=True):
    """It may not start yet: `waiting_for` completes the sentence "waiting for ..."."""

    waiting_for: str


class DependencyFailed(Event, frozen=True):
    """It may not start, and nothing will change that by itself: `name` is down because of `reason`."""

    name: str
    reason: str


class DependenciesMet(Event, frozen=True):
    """It may start now."""


class Spawned(Event, frozen=True):
    """Its command has been executed. Pids are those of the supervisor's pid namespace."""

    init_pid: int
    pid: int


class SpawnFailed(Event, frozen=True):
    """Its sandbox or its command could not be started; `message` is a sentence, nothing of it is left."""

    message: str
    exit_code: int = 125


class Ready(Event, frozen=True):
    """It says that it is ready (READY=1)."""


class ExtendReady(Event, frozen=True):
    """It asks for `seconds` from now to become ready (EXTEND_TIMEOUT_USEC)."""

    seconds: float


class Exited(Event, frozen=True):
    """Its last process is gone; the main process ended like this. `detail` is what else is known ("out of memory")."""

    exit_code: int | None = None
    signal: int | None = None
    detail: str = ""

    @property
    def status(self) -> int | None:
        """The exit code as a shell has it: 128 + N for signal N."""
        return 128 + self.signal if self.signal is not None else self.exit_code

    def __str__(self) -> str:
        if self.signal is not None:
            text = f"killed by {signal_name(self.signal)}"
        else:
            text = "ended" if self.exit_code is None else f"exit {self.exit_code}"
        return f"{text} ({self.detail})" if self.detail else text


class ConfigChanged(Event, frozen=True):
    """Its policy has changed (restart, stop, timeouts, dependencies); it counts from the next decision on."""

    config: ServiceConfig


class Expiry(Event, frozen=True):
    """A timer has run out. The serial tells the timer that is awaited from one that was cancelled too late."""

    serial: int


class ReadyTimeout(Expiry, frozen=True):
    """It should have been ready by now."""


class StopTimeout(Expiry, frozen=True):
    """It should have ended by now."""


class BackoffElapsed(Expiry, frozen=True):
    """It may be restarted now."""


AnyExpiry = ReadyTimeout | StopTimeout | BackoffElapsed
AnyEvent = (
    StartRequested | StopRequested | KillRequested | RestartRequested | DependencyWait | DependencyFailed
    | DependenciesMet | Spawned | SpawnFailed | Ready | ExtendReady | Exited | ConfigChanged | AnyExpiry
)  # fmt: skip


class TimerKind(StrEnum):
    """What a timer is for."""

    READY = "ready"
    STOP = "stop"
    BACKOFF = "backoff"


class Action(Struct, frozen=True):
    """Something the machine wants done."""


class CheckDependencies(Action, frozen=True):
    """Answer now with DependenciesMet, DependencyWait or DependencyFailed; and again whenever a dependency changes."""


class Spawn(Action, frozen=True):
    """Launch it; answer with Spawned or SpawnFailed."""


class SendSignal(Action, frozen=True):
    """Send a signal to its main process, its process group, or all of its processes."""

    signal: int
    scope: Scope


class KillAll(Action, frozen=True):
    """SIGKILL to everything in its sandbox; when it is still being launched, to the launch."""


class StartTimer(Action, frozen=True):
    """Hand `event` to the machine in `seconds`, unless cancelled. A service has one timer at most."""

    kind: TimerKind
    seconds: float
    event: AnyExpiry


class CancelTimer(Action, frozen=True):
    """Forget the timer. An expiry that can't be held back any more is harmless."""

    kind: TimerKind


class Announce(Action, frozen=True):
    """Tell the world its state, or a new reason for it. `previous` is the state that was announced before."""

    previous: State
    state: State
    reason: str


class RestartFollowers(Action, frozen=True):
    """It went down and comes up again: RestartRequested to all whose dependency on it says `restart = true`."""


class Shutdown(Action, frozen=True):
    """Stop the whole supervisor (restart.on_limit = "shutdown")."""

    reason: str


AnyAction = (
    CheckDependencies | Spawn | SendSignal | KillAll | StartTimer | CancelTimer | Announce | RestartFollowers | Shutdown
)  # fmt: skip
