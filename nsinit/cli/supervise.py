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

    from nsinit.supervisor.manager import Manager

# What is written to `ready`: this, or the exit code, a space and the message.
REPORT_UP = b"0 up"
_RUNTIME_FILES = ("socket", "info.json", "lock")


def boot(words: list[str]) -> int:
    """Fork the spawner, then become the supervisor; returns its exit status."""
    options = dict(word.partition("=")[::2] for word in words)
    from nsinit.kernel import process
    from nsinit.sandbox.spawner import fork_spawner

    if os.getpid() != 1:
        process.set_subreaper()
    spawner_pid, requests = fork_spawner()

    import trio

    from nsinit.errors import NsinitError

    try:
        trio.run(_main, options, spawner_pid, requests)
    except* NsinitError as group:
        error = next(_leaves(group))
        assert isinstance(error, NsinitError)
        report(options, f"{error.exit_code} {error}".encode())
        print(f"nsinit: {error}", file=sys.stderr)
        os._exit(error.exit_code)
    finally:
        _clean_up(options["runtime"])
    return 0


def _leaves(group: BaseExceptionGroup[BaseException]) -> "Iterator[BaseException]":
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def report(options: dict[str, str], text: bytes) -> None:
    """Tell whoever started us in the background; once."""
    if options["ready"]:
        descriptor, options["ready"] = int(options["ready"]), ""
        try:
            os.write(descriptor, text)
        except OSError:
            pass  # nobody waits any more
        os.close(descriptor)


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


async def _main(options: dict[str, str], spawner_pid: int, requests: "_socket.socket") -> None:
    import trio

    from nsinit.config import load_project
    from nsinit.control.server import serve
    from nsinit.supervisor import events_log
    from nsinit.supervisor.manager import Manager
    from nsinit.supervisor.output import Console, Journal, console_renderer
    from nsinit.supervisor.reaper import Reaper
    from nsinit.supervisor.service import Context
    from nsinit.supervisor.spawner_client import Spawner

    directory = options["directory"]
    project = load_project(directory, os.environ)
    log_format = options["format"] or project.supervisor.log_format
    console = Console()
    events_log.configure(console, log_format)
    journal, reaper = Journal(console_renderer(console, log_format)), Reaper()
    spawner = Spawner(requests, reaper)
    reaper.expect(spawner_pid, lambda _: None)
    if options["private"]:
        os.makedirs(options["private"], 0o700, exist_ok=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(reaper.run)
        nursery.start_soon(console.run)
        nursery.start_soon(spawner.run)
        isolated = options["isolated"] == "1"
        context = Context(spawner, journal, nursery, isolated, options["private"])
        if options["private"]:
            context.dev_template = _prepare_dev(f"{os.path.dirname(options['private'])}/dev")
        manager = Manager(
            project, options["name"], lambda: load_project(directory, os.environ), context, journal, reaper
        )
        await nursery.start(_follow_signals, manager)
        owners = frozenset(map(int, options["owners"].split(",")))
        await nursery.start(serve, manager, int(options["listener"]), owners)
        manager.start_enabled()
        if options["ready"]:
            nursery.start_soon(_report_when_up, options, manager)
        await manager.stopped.wait()
        with trio.move_on_after(1):
            await console.drained()
        nursery.cancel_scope.cancel()


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


async def _follow_signals(manager: "Manager", *, task_status: "trio.TaskStatus[None]") -> None:  # type: ignore[name-defined]  # noqa: F821
    import signal

    import structlog
    import trio

    from nsinit.errors import NsinitError
    from nsinit.kernel import signals

    log = structlog.get_logger()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP) as arrivals:
        # A terminal that is told to stop background output must not stop us.
        signals.set_ignored(signals.SIGTTOU)
        signals.set_blocked(())
        task_status.started()
        async for number in arrivals:
            log.info("supervisor.signal", signal=signals.signal_name(number))
            if number != signal.SIGHUP:
                manager.shutdown()
                continue
            try:
                await manager.reload()
            except NsinitError as error:
                log.error("supervisor.reload_failed", reason=str(error))


if __name__ == "__main__":
    sys.path.append(__file__.rsplit("/", 3)[0])
    sys.exit(boot(sys.argv[1:]))
