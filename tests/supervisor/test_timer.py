"""One timer at a time, and no expiry counts but the armed one's."""

from nsinit.supervisor.events import CancelTimer, StartTimer, StopTimeout, TimerKind
from nsinit.supervisor.timer import Timer


def test_arming_replaces_what_was_armed() -> None:
    timer = Timer()
    first = StartTimer(TimerKind.STOP, 5.0, StopTimeout(1))
    assert timer.arm(TimerKind.STOP, 5.0) == [first]
    second = StartTimer(TimerKind.STOP, 7.0, StopTimeout(2))
    assert timer.arm(TimerKind.STOP, 7.0) == [CancelTimer(TimerKind.STOP), second]
    assert timer.expire(first.event) is None
    assert timer.expire(second.event) == second


def test_an_expiry_counts_once() -> None:
    timer = Timer()
    timer.arm(TimerKind.BACKOFF, 1.0)
    assert timer.kind is TimerKind.BACKOFF
    assert timer.cancel() == [CancelTimer(TimerKind.BACKOFF)]
    assert timer.cancel() == []
    assert timer.kind is None
