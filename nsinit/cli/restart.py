"""nsinit restart: the verb for services by name."""

from collections.abc import Sequence

import click

from nsinit.cli.options import service_names, timeout_option
from nsinit.cli.target import connect, target_options


@click.command
@target_options
@timeout_option
@service_names(required=True)
def command(timeout: float | None, names: Sequence[str]) -> None:
    """Stop and start services; wait until they are up again.

    What depends on them and wants it (depends_on.NAME.restart) is restarted too.
    """
    _, client = connect(timeout)
    with client:
        client.restart(names)
