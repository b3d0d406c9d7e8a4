"""nsinit status: services in detail, and as an exit code."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from nsinit.cli.options import json_option, service_names
from nsinit.cli.output import duration, echo_json, optional, state_styled
from nsinit.cli.services import ACTIVE, caller_pids, host_pid
from nsinit.cli.services import as_json as service_json
from nsinit.cli.target import connect, target_options
from nsinit.errors import Inactive

if TYPE_CHECKING:
    from nsinit.supervisor.model import LogLine, ServiceStatus, SupervisorInfo


@click.command
@target_options
@click.option("-n", "--lines", "tail", metavar="N", type=click.IntRange(0), default=10, show_default=True,
              help="Show the last N log lines of each service.")  # fmt: skip
@json_option
@service_names(required=False)
def command(as_json: bool, tail: int, names: Sequence[str]) -> int:
    """Show services in detail, or the supervisor and all of them.

    Exit status 3 when one of them is neither running, ready nor completed; without NAME those that are not meant to
    run don't count.
    """
    entry, client = connect()
    with client:
        services = [client.status(name) for name in names] if names else client.list()
        pids = caller_pids(entry, client)
        if as_json:
            echo_json([service_json(status, pids) for status in services])
        else:
            if not names:
                _echo_supervisor(client.info(), entry.launcher_pid)
            for status in services:
                _echo_service(status, pids, list(client.logs([status.name], tail)) if tail else [])
    expected = [status for status in services if names or status.startup == "enabled"]
    return 0 if all(status.state in ACTIVE for status in expected) else Inactive.exit_code


def _echo_supervisor(info: "SupervisorInfo", launcher_pid: int) -> None:
    where = "in namespaces of its own" if info.namespaces else "without namespaces"
    click.echo(f"supervisor {info.name}, {where}")
    click.echo(f"  directory   {info.directory}")
    click.echo(f"  version     {info.version}")
    click.echo(f"  uptime      {duration(info.uptime_s)}")
    click.echo(f"  pid         {info.pid}, started by {launcher_pid}")
    click.echo(f"  orphans     {info.orphans_reaped} reaped")


def _echo_service(status: "ServiceStatus", pids: Mapping[int, int], lines: Sequence["LogLine"]) -> None:
    click.echo(f"{status.name}: {state_styled(status.state)}" + (f" ({status.reason})" if status.reason else ""))
    click.echo(f"  type        {status.type}, {status.startup}")
    if status.pid is not None:
        click.echo(f"  pid         {status.pid} ({optional(host_pid(status.pid, pids))} from here)")
    if status.init_pid is not None:
        click.echo(f"  init        {status.init_pid} ({optional(host_pid(status.init_pid, pids))} from here)")
    if status.uptime_s is not None:
        click.echo(f"  uptime      {duration(status.uptime_s)}")
    click.echo(f"  restarts    {status.restarts}")
    if status.signal is not None:
        click.echo(f"  last end    killed by {status.signal}")
    elif status.exit_code is not None:
        click.echo(f"  last end    exit {status.exit_code}")
    for line in lines:
        click.echo(f"  | {line.text}")
