"""nsinit list: all running supervisors."""

import click

from nsinit.cli.options import json_option
from nsinit.cli.output import echo_json, echo_table


@click.command
@json_option
def command(as_json: bool) -> None:
    """Show all running supervisors, wherever their files are."""
    import msgspec

    from nsinit.control.runtime import entries

    running = entries()
    if as_json:
        echo_json([msgspec.structs.asdict(entry) | {"socket": entry.socket_path} for entry in running])
        return
    rows = [(entry.name, str(entry.launcher_pid), entry.version, entry.directory) for entry in running]
    echo_table(("NAME", "PID", "VERSION", "DIRECTORY"), rows)
