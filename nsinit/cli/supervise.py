"""The supervisor's process: PID 1 of `nsinit up`, run by path in a fresh interpreter.

    python -I .../nsinit/cli/supervise.py KEY=VALUE...

The order matters. Signals are blocked already: whoever executed us saw to that. The spawner is forked while this
interpreter has loaded almost nothing; only then come trio and the rest. `nsinit.cli.up` starts this, and gives:

    directory   the service files            listener   descriptor of the control socket
    name        the supervisor's name        ready      descriptor to report on, or ""
    private     a directory for sockets, where only this supervisor sees it; "": use abstract ones
    isolated    1: services get namespaces   format     console or json; "": as nsinit.toml says
    owners      uids that may control us     runtime    a directory to remove at the end, or ""
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Iterator

    import trio

    from nsinit.supervisor.manager import Manager

# What is written to `ready`: this, or the exit code, a space and the message.
REPORT_UP = b"0 up"
_RUNTIME_FILES = ("socket", "info.json", "lock")
_BUG = 125
_MAX_REPORT = 1 << 16


def boot(words: list[str]) -> int:
    """Fork the spawner, then become the supervisor; returns its exit status."""
    options = dict(word.partition("=")[::2] for word in words)
    status, message = _BUG, ""
    isolated = options["isolated"] == "1"
    before = [] if isolated else _children()
    try:
        status = _run(options)
    except BaseException as error:
        status, message = _in_words(error)
    finally:
        if not isolated:
            _kill_what_is_left(before)
        _clean_up(options["runtime"])
        report(options, f"{status} {message or 'the supervisor has ended'}".encode())
    if message:
        print(f"nsinit: {message}", file=sys.stderr, flush=True)
    return status


def _run(options: dict[str, str]) -> int:
    from nsinit.kernel import process
    from nsinit.sandbox.spawner import fork_spawner

    if os.getpid() != 1:
        process.set_subreaper()
    spawner_pid, requests = fork_spawner()

    import trio

    return trio.run(_main, options, spawner_pid, requests)


def _in_words(error: BaseException) -> tuple[int, str]:
    """The exit status and the line for a supervisor that could not go on; without a traceback."""
    from nsinit.errors import NsinitError

    first = next(_leaves(error))
    if os.environ.get("NSINIT_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    if isinstance(first, NsinitError):
        return first.exit_code, str(first)
    from nsinit.supervisor.faults import describe

    about = describe(first)
    return _BUG, f"a bug in nsinit: {about['error']} ({about['where']}): set NSINIT_DEBUG=1 to see more, and report it"


def _leaves(error: BaseException) -> "Iterator[BaseException]":
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def report(options: dict[str, str], text: bytes) -> None:
    """Tell whoever started us in the background; once."""
    if options["ready"]:
        descriptor, options["ready"] = int(options["ready"]), ""
        try:
            os.write(descriptor, text[:_MAX_REPORT])
        except OSError:
            pass  # nobody waits any more
        os.close(descriptor)


def _children() -> list[int]:
    from nsinit.inspect.procfs import children

    return children(os.getpid())


def _kill_what_is_left(before: list[int]) -> None:
    """Without a pid namespace, nothing ends with us by itself: what has escaped from its service is killed here.

    `before` are children that were there when this program was executed: they are none of a service's.
    """
    from nsinit.inspect.procfs import descendants

    spared = {pid for child in before for pid in (child, *descendants(child))}
    for pid in set(descendants(os.getpid())) - spared:
        try:
            os.kill(pid, 9)
        except OSError:
            pass


def _clean_up(runtime: str) -> None:
    for path in (f"{runtime}/{name}" for name in _RUNTIME_FILES if runtime):
        try:
            os.unlink(path)
        except OSError:
            pass
    if runtime:
        try:
            os.rmdir(runtime)
        except OSError:
            pass


async def _main(options: dict[str, str], spawner_pid: int, requests: "_socket.socket") -> int:
    from functools import partial

    import trio

    from nsinit.config import load_project
    from nsinit.control.server import serve
    from nsinit.supervisor import events_log
    from nsinit.supervisor.faults import tend
    from nsinit.supervisor.manager import Manager
    from nsinit.supervisor.output import Console, Journal, console_renderer
    from nsinit.supervisor.reaper import Reaper
    from nsinit.supervisor.service import Context
    from nsinit.supervisor.spawner_client import Spawner

    directory = options["directory"]
    load = partial(load_project, directory, os.environ)
    project = load()
    log_format = options["format"] or project.supervisor.log_format
    console = Console(log_format=log_format)
    events_log.configure(console, log_format)
    journal, reaper = Journal(console_renderer(console, log_format)), Reaper()
    spawner = Spawner(requests, reaper)
    reaper.expect(spawner_pid, lambda _: None)
    async with trio.open_nursery() as nursery:
        context = Context(spawner, journal, nursery, options["isolated"] == "1", options["private"])
        if options["private"]:
            os.makedirs(options["private"], 0o711, exist_ok=True)
            context.use_dev(_prepare_dev(f"{options['private']}/.dev"))
        manager = Manager(project, options["name"], load, context, journal, reaper)
        # SIGCHLD is still blocked: the reaper has to listen before `_follow_signals` lets it in.
        for task in (reaper.run, console.run, spawner.run, partial(_follow_signals, manager, nursery)):
            await nursery.start(partial(tend, task, manager.fail))
        owners = frozenset(map(int, options["owners"].split(",")))
        server = partial(serve, manager, int(options["listener"]), owners)
        await nursery.start(partial(tend, server, manager.fail, again=False))
        manager.start_enabled()
        if options["ready"]:
            context.start(None, _report_when_up, options, manager)
        await manager.stopped.wait()
        with trio.move_on_after(1):
            await console.drained()
        nursery.cancel_scope.cancel()
    return manager.exit_code


def _prepare_dev(path: str) -> str | None:
    """Prepare a minimal /dev at `path` for all services; without a mount namespace of our own, don't."""
    from nsinit.sandbox.dev import make_template

    os.mkdir(path, 0o755)
    try:
        make_template(path)
    except OSError:
        return None
    return path


async def _report_when_up(options: dict[str, str], manager: "Manager") -> None:
    from nsinit.errors import OperationFailed

    try:
        await manager.wait_up()
    except OperationFailed as error:
        report(options, f"{error.exit_code} {error}".encode())
        manager.shutdown()
    else:
        report(options, REPORT_UP)


async def _follow_signals(manager: "Manager", nursery: "trio.Nursery", *, task_status: "trio.TaskStatus[None]") -> None:
    import signal

    import structlog
    import trio

    from nsinit.kernel import signals

    log = structlog.get_logger()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP) as arrivals:
        # A terminal that is told to stop background output must not stop us, nor a stray signal end us.
        for number in (signals.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM):
            signals.set_ignored(number)
        signals.set_blocked(())
        task_status.started()
        try:
            async for number in arrivals:
                log.info("supervisor.signal", signal=signals.signal_name(number))
                if number == signal.SIGHUP:
                    nursery.start_soon(_reload, manager)  # it may take as long as a stop: others must not wait
                else:
                    manager.shutdown()
        finally:
            signals.block_all()  # with the default actions back, a late one would end us before all is cleaned up


async def _reload(manager: "Manager") -> None:
    import structlog

    from nsinit.errors import NsinitError
    from nsinit.supervisor.faults import describe

    log = structlog.get_logger()
    try:
        await manager.reload()
    except NsinitError as error:
        log.error("supervisor.reload_failed", reason=str(error))
    except Exception as error:
        log.error("supervisor.reload_failed", **describe(error))


if __name__ == "__main__":
    sys.path.append(__file__.rsplit("/", 3)[0])
    sys.exit(boot(sys.argv[1:]))
