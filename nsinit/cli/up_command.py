"""nsinit up: the verb; what it does is in nsinit.cli.up."""

import click

from nsinit.cli.target import service_directory, target, target_options


@click.command
@target_options
@click.option("-d", "--detach", is_flag=True, help="Return when all services are up, or say which one is not.")
@click.option("--no-unshare", is_flag=True, help="Supervise without any namespaces, where they are forbidden.")
@click.option("--log-format", type=click.Choice(["console", "json"]), help="How nsinit writes its own events.")
@click.argument("path", metavar="[DIR]", required=False, type=click.Path())
def command(detach: bool, no_unshare: bool, log_format: str | None, path: str | None) -> int:
    """Supervise the services in DIR (default: services).

    Each DIR/*.toml is a service, which runs in namespaces of its own inside those of the supervisor.
    TERM, INT or QUIT stop all services in order, a second one hastens it; HUP reads the service files again.
    """
    from nsinit.cli.up import up

    return up(
        directory=service_directory(path),
        name=target().name,
        detach=detach,
        no_unshare=no_unshare,
        log_format=log_format,
    )
