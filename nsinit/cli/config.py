"""nsinit config: the whole configuration with every default filled in."""

import os

import click

from nsinit.cli.output import echo_json
from nsinit.cli.target import service_directory, target_options
from nsinit.cli.toml import to_toml


@click.command
@target_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON: an object.")
@click.argument("path", metavar="[DIR]", required=False, type=click.Path())
def command(as_json: bool, path: str | None) -> None:
    """Print the configuration, with every default filled in.

    DIR is `services` by default. The TOML of each service is a file that would load as the same service.
    """
    from nsinit.config import effective, load_project

    whole = effective(load_project(service_directory(path), os.environ))
    if as_json:
        echo_json(whole)
        return
    services = whole.pop("services")
    assert isinstance(services, dict)
    click.echo(f"# {whole.pop('directory')}/nsinit.toml, supervisor {whole.pop('name')}\n{to_toml(whole)}", nl=False)
    for service in services.values():
        click.echo(f"\n# {service.pop('path')}\n{to_toml(service)}", nl=False)
