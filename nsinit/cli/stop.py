"""nsinit stop: the verb for services by name."""

from collections.abc import Sequence

import click

from nsinit.cli.options import service_names, timeout_option
from nsinit.cli.target import connect, target_options


@click.command
@target_options
@timeout_option
@service_names(required=True)
def command(timeout: float | None, names: Sequence[str]) -> None:
    """Stop services; wait until they have stopped.

    Those that need them are stopped first. They stay stopped until somebody starts them.
    """
    _, client = connect(timeout)
    with client:
        client.stop(names)
