"""nsinit ps: all services in a table."""

import click

from nsinit.cli.options import json_option
from nsinit.cli.output import duration, echo_json, echo_table, optional
from nsinit.cli.services import as_json as service_json
from nsinit.cli.services import caller_pids, host_pid
from nsinit.cli.target import connect, target_options

_HEADER = ("NAME", "STATE", "READY", "PID", "HOST_PID", "RESTARTS", "UPTIME", "REASON")


@click.command
@target_options
@json_option
def command(as_json: bool) -> None:
    """Show all services and their states.

    PID is the main process as the supervisor's pid namespace numbers it, HOST_PID the same as seen from here.
    """
    entry, client = connect()
    with client:
        services = client.list()
        pids = caller_pids(entry, client)
    if as_json:
        echo_json([service_json(status, pids) for status in services])
        return
    rows = [
        (
            status.name,
            status.state,
            "yes" if status.ready else "no",
            optional(status.pid),
            optional(host_pid(status.pid, pids)),
            str(status.restarts),
            duration(status.uptime_s),
            status.reason,
        )
        for status in services
    ]
    echo_table(_HEADER, rows)
