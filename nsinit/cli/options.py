"""Options that several verbs share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from nsinit.cli.target import complete_services

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON: an array.")


class Duration(click.ParamType[float]):
    """A duration on the command line: as in service files, or a bare number of seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds; click's usage error for anything else."""
        from nsinit.config.units import parse_duration

        try:
            seconds = parse_duration(f"{value}s" if str(value)[-1:].isdecimal() else value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds <= 0:
            self.fail(f"{value} is no time to wait", param, ctx)
        return seconds


timeout_option = click.option(
    "--timeout", metavar="TIME", type=Duration(), help="Wait no longer (exit 124); what was begun goes on."
)


def service_names(*, required: bool) -> Callable[[F], F]:
    """The argument NAME..., completed with the names of the supervisor's services."""
    return click.argument(
        "names", metavar="NAME..." if required else "[NAME]...", nargs=-1, required=required,
        shell_complete=complete_services,
    )  # fmt: skip
