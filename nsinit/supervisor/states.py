"""The states of a service and the transitions between them: one enum, one table.

A service at rest (stopped, completed, failed) has no process and no plan. A start request makes it *waiting* until its
dependencies allow it, then *starting* until its command has been executed, *running* until it is ready, and *ready*.
When it ends it is *completed* (by itself, successfully), *failed* (and not restarted), in *backoff* (restarted after a
delay) or *waiting* again (restarted at once). *stopping* covers all from the stop signal to the last exit of the
sandbox, whoever asked for it.

The names are an interface: users' scripts and dashboards read them, so they change only with a new major version.
"""

from collections.abc import Mapping
from enum import StrEnum

from nsinit.errors import NsinitError


class State(StrEnum):
    """Where a service is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    READY = "ready"
    UNREADY = "unready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    COMPLETED = "completed"
    BACKOFF = "backoff"
    FAILED = "failed"
    FROZEN = "frozen"


AT_REST = frozenset({State.STOPPED, State.COMPLETED, State.FAILED})
UP = frozenset({State.RUNNING, State.READY, State.UNREADY, State.FROZEN})

_ENDS = frozenset({State.COMPLETED, State.FAILED, State.BACKOFF, State.WAITING})

TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.WAITING: frozenset({State.STARTING, State.STOPPED}),
    # Only what has been executed can complete.
    State.STARTING: _ENDS - {State.COMPLETED} | {State.RUNNING, State.READY, State.STOPPING},
    State.RUNNING: _ENDS | {State.READY, State.STOPPING, State.FROZEN},
    State.READY: _ENDS | {State.UNREADY, State.STOPPING, State.FROZEN},
    State.UNREADY: _ENDS | {State.READY, State.STOPPING, State.FROZEN},
    # A stop that was asked for ends in stopped; one that punishes a missed readiness is a failure.
    State.STOPPING: frozenset({State.STOPPED, State.FAILED, State.BACKOFF, State.WAITING}),
    State.STOPPED: frozenset({State.WAITING}),
    State.COMPLETED: frozenset({State.WAITING}),
    State.BACKOFF: frozenset({State.WAITING, State.STOPPED, State.FAILED}),
    State.FAILED: frozenset({State.WAITING}),
    State.FROZEN: _ENDS | {State.RUNNING, State.READY, State.UNREADY, State.STOPPING},
}


class IllegalTransition(NsinitError):
    """Something happened to a service that can't happen in its state: a bug in nsinit, never the user's fault."""


def check_transition(name: str, old: State, new: State) -> None:
    """Let a service go from `old` to `new`.

    Raises:
        IllegalTransition: the table has no such transition.
    """
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(f"cannot take {name} from {old} to {new}: no such transition; please report this bug")
