"""nsinit reload: read the service files again."""

import click

from nsinit.cli.output import echo_json
from nsinit.cli.target import connect, target_options


@click.command
@target_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON: an object.")
def command(as_json: bool) -> None:
    """Read the service files again and apply what has changed.

    What only changes policy is applied live; what changes the process restarts that service and no other. When a
    file is wrong nothing is changed (exit 6).
    """
    import msgspec

    _, client = connect()
    with client:
        report = msgspec.structs.asdict(client.reload())
    if as_json:
        echo_json(report)
        return
    for what, names in report.items():
        if names:
            click.echo(f"{what}: {', '.join(names)}")
    if not any(report.values()):
        click.echo("nothing has changed")
