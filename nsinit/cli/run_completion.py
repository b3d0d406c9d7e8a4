"""What the shell needs to complete `nsinit run` and `nsinit -- CMD`, which never come to click otherwise."""

from typing import Any

import click
from click.shell_completion import CompletionItem

from nsinit.kernel.namespaces import TYPES
from nsinit.sandbox.options import OPTIONS

HELP = "Run a command in namespaces of its own."

_DIRECTORIES = ("--rootfs", "--chdir")
_FILES = ("--bind", "--tmpfs")
_NAMESPACES = ("--unshare", "--share")


def _type(names: tuple[str, ...], metavar: str) -> "click.ParamType[Any] | None":
    if any(name in _DIRECTORIES for name in names):
        return click.Path(file_okay=False)
    if any(name in _FILES for name in names):
        return click.Path()
    if any(name in _NAMESPACES for name in names):
        return click.Choice([*TYPES, "all"])
    return click.Choice(metavar.split("|")) if "|" in metavar else None


def _complete_word(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    return [CompletionItem(incomplete, type="file")]


def command() -> click.Command:
    """A command with the options of the real one, which does nothing."""
    parameters: list[click.Parameter] = [
        click.Option(
            [*names, f"option_{number}"],
            is_flag=not metavar,
            multiple=bool(metavar),
            type=_type(names, metavar),
            help=text,
        )
        for number, (names, metavar, text, *_) in enumerate(OPTIONS)
    ]
    words = click.Argument(["argv"], nargs=-1, type=click.UNPROCESSED, shell_complete=_complete_word)
    return click.Command(
        "run",
        params=[*parameters, words],
        help=HELP,
        add_help_option=False,
        context_settings={"allow_interspersed_args": False},
    )
