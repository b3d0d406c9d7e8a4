"""A service's one timer, as its state machine sees it: nothing ticks here.

The driver may be about to deliver an expiry at the very moment the timer is cancelled. So every timer has a serial,
its expiry carries it, and only the expiry of the timer that is armed now counts.
"""

from nsinit.supervisor.events import (
    AnyAction,
    AnyExpiry,
    BackoffElapsed,
    CancelTimer,
    ReadyTimeout,
    StartTimer,
    StopTimeout,
    TimerKind,
)

_EXPIRY: dict[TimerKind, type[AnyExpiry]] = {
    TimerKind.READY: ReadyTimeout,
    TimerKind.STOP: StopTimeout,
    TimerKind.BACKOFF: BackoffElapsed,
}


class Timer:
    """At most one timer is armed at a time."""

    __slots__ = ("_armed", "_serial")

    def __init__(self) -> None:
        self._armed: StartTimer | None = None
        self._serial = 0

    @property
    def kind(self) -> TimerKind | None:
        """What the armed timer is for; None when there is none."""
        return None if self._armed is None else self._armed.kind

    def arm(self, kind: TimerKind, seconds: float) -> list[AnyAction]:
        """Start a timer, instead of the one that is armed."""
        cancelled = self.cancel()
        self._serial += 1
        self._armed = StartTimer(kind, seconds, _EXPIRY[kind](self._serial))
        return [*cancelled, self._armed]

    def cancel(self) -> list[AnyAction]:
        """Cancel the armed timer, if there is one."""
        if self._armed is None:
            return []
        kind, self._armed = self._armed.kind, None
        return [CancelTimer(kind)]

    def expire(self, event: AnyExpiry) -> StartTimer | None:
        """The armed timer, if this is its expiry; it is armed no more. None for one that came too late."""
        if self._armed is None or self._armed.event != event:
            return None
        expired, self._armed = self._armed, None
        return expired
