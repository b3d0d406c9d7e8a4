"""The `nsinit` command: its verbs, each imported when it is used, and the one place where errors become exit codes."""

import difflib
import importlib
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import click

from nsinit import __version__
from nsinit.cli import streams
from nsinit.cli.target import target_options
from nsinit.errors import InvalidConfig, NsinitError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# Verb -> module of nsinit.cli that defines it as `command`, in the order of the help.
VERBS = {
    "up": "up_command",
    "ps": "ps",
    "status": "status",
    "start": "start",
    "stop": "stop",
    "restart": "restart",
    "reload": "reload",
    "logs": "logs",
    "exec": "exec",
    "down": "down",
    "check": "check",
    "config": "config",
    "list": "list",
    "doctor": "doctor",
    "completion": "completion",
}

_INTERRUPTED = 130
_BROKEN_PIPE = 141
_FILE_AND_LINE = re.compile(r"[^\n]*?:[0-9]+: ")

_USAGE = """\
Usage: nsinit [OPTIONS] -- CMD [ARGS]...      run CMD in namespaces of its own
       nsinit run [OPTIONS] -- CMD [ARGS]...  the same with every choice open
       nsinit [OPTIONS] VERB [ARGS]...        supervise services, see below
"""


class Verbs(click.Group):
    """A group that imports a verb only to run it or to describe it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order of the help."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import the verb."""
        if name not in VERBS:
            return None
        command = importlib.import_module(f"nsinit.cli.{VERBS[name]}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, but a verb that does not exist is answered with the nearest one."""
        if ctx.resilient_parsing:  # the shell completes: nobody reads an error
            return self._resolve_for_shell(ctx, args)
        if args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], [*VERBS, "run"], 1)
            hint = f"did you mean `nsinit {near[0]}`?" if near else f"to run a command, write `nsinit -- {args[0]}`"
            raise click.UsageError(f"there is no verb {args[0]}: {hint}", ctx)
        return super().resolve_command(ctx, args)

    def _resolve_for_shell(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] != "run":
            return super().resolve_command(ctx, args)
        from nsinit.cli.run_completion import command

        return "run", command(), args[1:]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's; `-- CMD` and its options, of which only the shell asks here, are those of `run`."""
        if ctx.resilient_parsing and args:
            from nsinit.sandbox.options import is_option

            if is_option(args[0]):
                args = ["run", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
        """The verbs, and `run`."""
        found = super().shell_complete(ctx, incomplete)
        if "run".startswith(incomplete):
            from click.shell_completion import CompletionItem

            from nsinit.cli.run_completion import HELP

            found.append(CompletionItem("run", help=HELP))
        return found

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show also the two ways that don't come through here."""
        formatter.write(_USAGE)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; its errors become a line on stderr and an exit code, all of them here."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except NsinitError as error:
            return _failed(error, passes_status_on=ctx.invoked_subcommand == "exec")
        except KeyboardInterrupt:
            return _INTERRUPTED
        except BrokenPipeError:
            streams.discard_output()
            return _BROKEN_PIPE


def _failed(error: NsinitError, *, passes_status_on: bool) -> int:
    _debug()
    if isinstance(error, streams.OutputFailed):
        streams.discard_output()
    message = str(error)
    # Editors jump to FILE:LINE: TEXT, so that form stays bare.
    bare = isinstance(error, InvalidConfig) and _FILE_AND_LINE.match(message)
    click.echo(message if bare else f"nsinit: {message}", err=True)
    # 125 and above mean that nsinit failed before a command could, which only exec can be confused about.
    return error.exit_code if passes_status_on or error.exit_code < 125 else 1


def _debug() -> None:
    if os.environ.get("NSINIT_DEBUG") == "1":
        import traceback

        traceback.print_exc()


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@target_options
@click.version_option(__version__, message="%(prog)s %(version)s")
def nsinit() -> None:
    """An init (PID 1) and process supervisor whose services live in Linux namespaces of their own.

    `nsinit up` reads a directory of service files, one TOML file a service, and supervises them in a private machine.
    The other verbs talk to the supervisor of the current directory, or of the one that -C or --name choose.

    \b
    Exit status: 0 done, 1 failed, 2 usage, 3 inactive or unhealthy, 4 no such service, 5 denied,
    6 invalid configuration, 7 no supervisor there, 124 timed out.
    `--`, run and exec pass the command's own status on.
    """


def run(argv: list[str]) -> int:
    """Run a command line; every way it can end is an exit status."""
    streams.prepare()
    try:
        result = nsinit.main(argv, prog_name="nsinit", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return _INTERRUPTED
    except streams.OutputFailed as error:  # of a help text
        return _failed(error, passes_status_on=False)
    except Exception as error:
        _debug()
        click.echo(
            f"nsinit: a bug in nsinit: {type(error).__name__}: {error}: set NSINIT_DEBUG=1 to see where", err=True
        )
        return 125 if "exec" in argv[:1] else 1
    return result if isinstance(result, int) else 0
