"""nsinit logs: what services wrote, in the order of time."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from nsinit.cli.options import service_names
from nsinit.cli.output import echo_json_line, in_colour
from nsinit.cli.target import connect, target_options

if TYPE_CHECKING:
    from nsinit.supervisor.model import LogLine

_COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "bright_cyan", "bright_yellow", "bright_green")


@click.command
@target_options
@click.option("-f", "--follow", is_flag=True, help="Go on with the lines to come, until the supervisor ends.")
@click.option("-n", "--tail", metavar="N", type=click.IntRange(0), help="Only the last N lines of each service.")
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was written.")
@click.option("--no-prefix", is_flag=True, help="Leave the services' names out.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: one object a line.")
@service_names(required=False)
def command(
    follow: bool, tail: int | None, timestamps: bool, no_prefix: bool, as_json: bool, names: Sequence[str]
) -> None:
    """Show what services wrote, in the order of time.

    That is their standard output and error; without NAME of all services, merged.
    """
    _, client = connect()
    with client:
        show: Callable[[LogLine], None] = echo_json_line
        if not as_json:
            known = sorted(status.name for status in client.list())
            show = _printer([] if no_prefix else known, list(names) or known, timestamps)
        for line in client.logs(names, tail, follow=follow):
            show(line)
            if follow:
                sys.stdout.flush()


def _printer(known: Sequence[str], shown: Sequence[str], timestamps: bool) -> "Callable[[LogLine], None]":
    width = max(map(len, shown), default=0)
    prefixes = {name: f"{name.ljust(width)} | " for name in known}
    if in_colour():
        # By its place among all services, so that a name has the same colour in every call.
        for number, name in enumerate(known):
            prefixes[name] = click.style(prefixes[name], fg=_COLOURS[number % len(_COLOURS)])

    def show(line: "LogLine") -> None:
        # A service that a reload has added since has no prefix prepared.
        prefix = prefixes.get(line.service, f"{line.service.ljust(width)} | ") if known else ""
        sys.stdout.write(f"{prefix}{_stamp(line.time) if timestamps else ''}{line.text}\n")

    return show


def _stamp(unix_s: float) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(unix_s))
    return f"{seconds}.{int(unix_s % 1 * 1000):03d}{time.strftime('%z', time.localtime(unix_s))} "
