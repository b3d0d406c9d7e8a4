"""`nsinit -- CMD` and `nsinit run`: from the command line to the exit status."""

import os
import sys

from nsinit.errors import KernelError, NsinitError, UsageError
from nsinit.kernel import process, signals
from nsinit.sandbox import options
from nsinit.sandbox.terminal import Terminal

FAILED = 125


def say(text: str) -> None:
    """A line to the user, whatever the terminal's state."""
    try:
        os.write(2, os.fsencode(f"nsinit: {text}\n"))
    except OSError:
        pass  # nobody listens


def main(arguments: list[str], blocked: list[int]) -> int:
    """Run; `blocked` are the signals that were blocked at start (all are now). Returns the exit status."""
    try:
        call = options.parse(arguments)
        if call.help:
            sys.stdout.write(options.usage() + "\n")
            sys.stdout.flush()
            return 0
        return _run(call, blocked)
    except UsageError as error:
        say(str(error))
        return FAILED
    except NsinitError as error:
        say(str(error))
        return error.exit_code
    except OSError as error:
        say(str(KernelError("start", error.errno or 0, error.filename or "")))
        return FAILED


def _run(call: options.Invocation, blocked: list[int]) -> int:
    spec = call.spec
    spec.blocked = blocked
    spec.ignored = signals.started_with_ignored()
    if call.parent_death_signal:
        _watch_parent(call.parent_death_signal)
    if os.getpid() == 1 and not call.sandbox_options:
        call.no_unshare = True
    options.complete(call)
    if call.no_unshare:
        from nsinit.sandbox.init_here import run_here

        return run_here(spec, Terminal(), say)
    options.open_joins(call)
    from nsinit.sandbox.launch import Launcher, without_missing

    without_missing(spec, say)
    return Launcher(spec, Terminal(), say).run()


def _watch_parent(signal: int) -> None:
    parent = os.getppid()
    process.set_parent_death_signal(signal)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal)
