"""When a service that has ended is started again: the policy, the growing delay, the limit.

A run is *healthy* when the service was ready for `reset_after_s` at least. The first restart after a healthy run is
immediate; after every other run the delay grows from `delay_s` by `factor` up to `max_delay_s`. The jitter only
shortens a delay: services that died together come back apart, and none later than its file says.

The limit counts restarts (not the first start) in a sliding window, healthy runs or not; so it also ends the life of
a service that crashes just seldom enough to be called healthy.
"""

from collections import deque
from random import Random

from msgspec import Struct

from nsinit.config.model import Restart, ServiceConfig
from nsinit.supervisor.events import Exited


class Decision(Struct, frozen=True):
    """Restart in `delay_s` seconds; it is the `number`th restart in the window."""

    delay_s: float
    number: int


class RestartHistory:
    """What the policy has to remember of one service: the last delay, and the restarts in the window."""

    __slots__ = ("_delay_s", "_times", "_total")

    def __init__(self) -> None:
        self._delay_s: float | None = None
        self._times: deque[float] = deque()
        self._total = 0

    def next(self, restart: Restart, now: float, *, healthy: bool, rng: Random) -> Decision | None:
        """Decide on the restart after a run that ended `now` (monotonic seconds); None when the limit is reached."""
        while self._times and self._times[0] <= now - restart.window_s:
            self._times.popleft()
        if restart.limit and len(self._times) >= restart.limit:
            return None
        self._total += 1
        if not restart.limit:
            return Decision(self._grow(restart, healthy, rng), self._total)
        self._times.append(now)
        return Decision(self._grow(restart, healthy, rng), len(self._times))

    def _grow(self, restart: Restart, healthy: bool, rng: Random) -> float:
        if healthy:
            self._delay_s = None
            return 0.0
        grown_s = restart.delay_s if self._delay_s is None else self._delay_s * restart.factor
        self._delay_s = min(grown_s, restart.max_delay_s)
        return self._delay_s * (1 - restart.jitter * rng.random())


def in_words(seconds: float) -> str:
    """A duration for a reason: "473 ms", "8.2 s", "10 min", "1.5 h"."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    return f"{seconds / 60:.3g} min" if seconds < 3600 else f"{seconds / 3600:.4g} h"


def judge(config: ServiceConfig, how: Exited, *, executed: bool, ready: bool) -> tuple[bool, str]:
    """Whether a run that ended by itself was a success, and in words how it ended."""
    if not executed:
        return False, f"{how} before its command was executed"
    success = how.status is not None and how.status in config.success_exit_codes
    if success and not ready and config.type == "simple":
        return False, f"{how} before it was ready"
    return success, str(how)


def wants_restart(config: ServiceConfig, status: int | None, *, success: bool) -> bool:
    """Whether the policy restarts a service that has ended by itself. A oneshot that succeeded has done its work."""
    if status is not None and status in config.restart.prevent_exit_codes:
        return False
    match config.restart.policy:
        case "always":
            return not (success and config.type == "oneshot")
        case "on-failure":
            return not success
        case "no":
            return False
