"""nsinit start: the verb for services by name."""

from collections.abc import Sequence

import click

from nsinit.cli.options import service_names, timeout_option
from nsinit.cli.target import connect, target_options


@click.command
@target_options
@timeout_option
@service_names(required=True)
def command(timeout: float | None, names: Sequence[str]) -> None:
    """Start services and what they need; wait until they are up.

    A oneshot is up when it has completed.
    """
    _, client = connect(timeout)
    with client:
        client.start(names)
