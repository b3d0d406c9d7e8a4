"""The entry point: `nsinit`, `python -m nsinit`, and this file run by its path in a new interpreter.

Signals are blocked first of all, so that none is lost before someone listens. `-- CMD` and `run` go the short way,
without a third-party module; every other verb goes to the command line interface.
"""

import os
import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` has put the current directory first: whatever lies there must not be imported.
    del sys.path[0]
if __package__ in (None, ""):
    # Run by path in an isolated interpreter: the package lies above, and goes last.
    sys.path.append(__file__.rpartition("/")[0].rpartition("/")[0])


def main(arguments: list[str] | None = None) -> int:
    """Run nsinit; return its exit status."""
    if arguments is None:
        arguments = sys.argv[1:]
    from nsinit.sandbox.options import is_option

    if arguments and (arguments[0] == "run" or is_option(arguments[0])) and arguments[0] not in ("-h", "--help"):
        from nsinit.kernel import signals

        blocked = signals.block_all()
        from nsinit.sandbox.main import main as run

        return run(arguments[1:] if arguments[0] == "run" else arguments, blocked)
    from nsinit.cli import main as command_line

    return command_line(arguments)


def entry() -> None:
    """Run nsinit and end this process, without the interpreter's clean-up (3 ms): there is nothing to clean."""
    status = main()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    entry()
