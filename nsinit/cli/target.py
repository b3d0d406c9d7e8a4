"""Which supervisor, and which service files, a command line means."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nsinit.errors import NsinitError

if TYPE_CHECKING:
    from nsinit.control.client import Client
    from nsinit.control.runtime import RuntimeEntry

F = TypeVar("F", bound=Callable[..., Any])

_SERVICES = "services"


class Target:
    """What -C and --name said, before or after the verb."""

    def __init__(self) -> None:
        self.directory: str | None = None
        self.name: str | None = None


def _remember(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        assert parameter.name is not None
        setattr(ctx.ensure_object(Target), parameter.name, value)


def target_options(command: F) -> F:
    """Add -C/--directory and --name; `target()` returns what they said."""
    directory = click.option(
        "-C",
        "--directory",
        metavar="DIR",
        expose_value=False,
        callback=_remember,
        type=click.Path(file_okay=False),
        help="As if called in DIR: the directory of the service files, or the one above `services`.",
    )
    name = click.option(
        "--name",
        metavar="NAME",
        expose_value=False,
        callback=_remember,
        shell_complete=_complete_supervisors,
        help="The supervisor of that name.",
    )
    return directory(name(command))


def target() -> Target:
    """What -C and --name said to the command that is running."""
    return click.get_current_context().ensure_object(Target)


def connect(timeout_s: float | None = None) -> "tuple[RuntimeEntry, Client]":
    """Find the supervisor that is meant and connect to it.

    Raises:
        NoSupervisor, Denied, UsageError.
    """
    return _connect(target(), timeout_s)


def _connect(target: Target, timeout_s: float | None) -> "tuple[RuntimeEntry, Client]":
    from nsinit.control.client import Client
    from nsinit.control.runtime import find

    entry = find(target.directory or ".", target.name)
    return entry, Client.connect(entry.socket_path, timeout_s)


def service_directory(given: str | None) -> str:
    """The directory of the service files: the one given, else `services`, else the current one if it is called so.

    All relative to -C, which may also be the directory itself.
    """
    chosen = target().directory
    base = chosen or ""
    if given is not None:
        return os.path.join(base, given)
    below = os.path.join(base, _SERVICES)
    if os.path.isdir(below):
        return below
    if chosen is not None:
        return chosen
    return "." if os.path.basename(os.getcwd()) == _SERVICES else below


def complete_services(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> Sequence[str]:
    """The services of the supervisor that is meant, for the shell."""
    try:
        _, client = _connect(ctx.ensure_object(Target), timeout_s=1.0)
        with client:
            return [status.name for status in client.list() if status.name.startswith(incomplete)]
    except (NsinitError, OSError):
        return []


def _complete_supervisors(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> Sequence[str]:
    from nsinit.control.runtime import entries

    try:
        return [entry.name for entry in entries() if entry.name.startswith(incomplete)]
    except (NsinitError, OSError):
        return []
