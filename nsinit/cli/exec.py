"""nsinit exec: a further command in a service's sandbox."""

import os
from collections.abc import Sequence

import click

from nsinit.cli.services import caller_pids
from nsinit.cli.target import complete_services, connect, target_options
from nsinit.errors import OperationFailed


def _assignment(ctx: click.Context, parameter: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    for value in values:
        if "=" not in value[1:]:
            raise click.BadParameter(f"{value!r} is no assignment: write NAME=VALUE", ctx, parameter)
    return dict(value.split("=", 1) for value in values)


@click.command(context_settings={"allow_interspersed_args": False})
@target_options
@click.option("-u", "--user", metavar="USER", help="As NAME|UID[:GROUP|GID] of the sandbox; default: the service's.")
@click.option("-w", "--chdir", metavar="DIR", help="In this directory of the sandbox; default: the service's.")
@click.option("-e", "--env", "extra", metavar="NAME=VALUE", multiple=True, callback=_assignment,
              help="Add to the service's environment.")  # fmt: skip
@click.option("-T", "--no-tty", is_flag=True, help="No terminal for the command, even when there is one here.")
@click.argument("service", metavar="NAME", shell_complete=complete_services)
@click.argument("argv", metavar="[--] CMD [ARGS]...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    user: str | None, chdir: str | None, extra: dict[str, str], no_tty: bool, service: str, argv: Sequence[str]
) -> int:
    """Run a command in a running service's sandbox.

    CMD runs in all namespaces of the service, with its root, its user and its environment; in a terminal of its own
    when there is one here.

    The exit status is CMD's (128+N for signal N), 127 when it is not found, 126 when it can't be executed, 125 when
    the sandbox can't be entered.
    """
    from nsinit.sandbox.enter import enter_and_run

    words = argv[1:] if argv[0] == "--" else argv
    if not words:
        raise click.UsageError("give the command to run after --")
    entry, client = connect()
    with client:
        context = client.exec_context(service)
        pid = caller_pids(entry, client).get(context.pid)
    if pid is None:
        raise OperationFailed(
            f"cannot enter {service}: its process, pid {context.pid} of the supervisor's, is not visible from here: "
            "call nsinit exec from the pid namespace that the supervisor was started in"
        )
    env = context.env | ({"TERM": os.environ["TERM"]} if "TERM" in os.environ and not no_tty else {}) | extra
    return enter_and_run(
        pid,
        [os.fsencode(word) for word in words],
        env={os.fsencode(key): os.fsencode(value) for key, value in env.items()},
        user=user or context.user,
        chdir=chdir or context.working_dir,
        tty=False if no_tty else None,
    )
