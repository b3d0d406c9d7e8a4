"""The entry point: `nsinit`, `python -m nsinit`, and this file run by its path in a new interpreter.

Signals are blocked first of all, so that none is lost before someone listens. `-- CMD` and `run` go the short way,
without a third-party module; every other verb goes to the command line interface.
"""

import _signal  # type: ignore[import-not-found]  # private to CPython, and stable since 3.2
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` has put the current directory first: whatever lies there must not be imported.
    del sys.path[0]
if __package__ in (None, ""):
    # Run by path in an isolated interpreter: the package lies above, and goes last.
    sys.path.append(__file__.rpartition("/")[0].rpartition("/")[0])


def main(arguments: list[str] | None = None, blocked: "Iterable[int] | None" = None) -> int:
    """Run nsinit; return its exit status.

    All signals are blocked already if `blocked` says which were before.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    from nsinit.sandbox.options import is_option

    if arguments and (arguments[0] == "run" or is_option(arguments[0])) and arguments[0] not in ("-h", "--help"):
        from nsinit.kernel import signals

        before = signals.block_all() if blocked is None else sorted(map(int, blocked))
        from nsinit.sandbox.main import main as run

        return run(arguments[1:] if arguments[0] == "run" else arguments, before)
    if blocked is not None:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, blocked)
    from nsinit.cli import main as command_line

    return command_line(arguments)


def entry(blocked: "Iterable[int] | None" = None) -> None:
    """Run nsinit and end this process, without the interpreter's clean-up (3 ms): there is nothing to clean.

    The script that calls this has blocked all signals already, if `blocked` says which were before.
    """
    if blocked is None:
        blocked = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    status = main(blocked=blocked)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    entry()
