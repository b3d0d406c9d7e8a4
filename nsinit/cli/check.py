"""nsinit check: are the service files right?"""

import os
import re

import click

from nsinit.cli.options import json_option
from nsinit.cli.output import echo_json
from nsinit.cli.target import service_directory, target_options
from nsinit.errors import InvalidConfig

_ERROR = re.compile(r"(?P<file>.*?):(?P<line>[0-9]+): (?P<text>.*)")


@click.command
@target_options
@json_option
@click.argument("path", metavar="[DIR]", required=False, type=click.Path())
def command(as_json: bool, path: str | None) -> int:
    """Check the service files; start nothing.

    DIR is `services` by default. All errors of all files are shown, one a line with file and line number, and the
    exit status is 6.
    """
    from nsinit.config import load_project

    directory = service_directory(path)
    try:
        project = load_project(directory, os.environ)
    except InvalidConfig as error:
        if not as_json:
            raise
        echo_json([_as_json(line) for line in str(error).splitlines()])
        return error.exit_code
    if as_json:
        echo_json([])
    else:
        count = len(project.services)
        click.echo(f"{directory}: {count} service{'s' * (count != 1)}, no errors")
    return 0


def _as_json(line: str) -> dict[str, object]:
    match = _ERROR.fullmatch(line)
    if match is None:
        return {"file": None, "line": None, "text": line}
    return {"file": match["file"], "line": int(match["line"]), "text": match["text"]}
