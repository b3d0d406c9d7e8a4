"""Commands that run under nsinit until a test has seen enough."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support import processes
from tests.support.runner import Process, Runner
from tests.support.waiting import PATIENCE_S, Deadline, wait_readable

KINDS = ("user", "mnt", "pid", "net", "uts", "ipc", "cgroup", "time")

# Blocks every signal, and writes the number of each that comes; the one it is given ends it.
CATCH = """
import os, signal, sys
every = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
signal.pthread_sigmask(signal.SIG_BLOCK, every)
os.write(1, b"ready\\n")
last = int(sys.argv[1])
while True:
    info = signal.sigwaitinfo(every)
    if info.si_signo != signal.SIGCHLD:
        os.write(1, b"%d\\n" % info.si_signo)
    if info.si_signo == last:
        break
"""


def read_line(process: Process, timeout_s: float = PATIENCE_S) -> str:
    """The next line of a process's output, without reading further."""
    assert process.stdout
    return _line(process.stdout.fileno(), timeout_s)


def read_error_line(process: Process, timeout_s: float = PATIENCE_S) -> str:
    """The next line that a process writes on its standard error."""
    assert process.stderr
    return _line(process.stderr.fileno(), timeout_s)


def _line(fd: int, timeout_s: float) -> str:
    deadline = Deadline(timeout_s)
    line = b""
    while not line.endswith(b"\n"):
        if not wait_readable(fd, deadline.left_ms() / 1000):
            raise TimeoutError(f"no line after {timeout_s} s, only {line!r}")
        byte = os.read(fd, 1)
        if not byte:
            raise EOFError(f"the output has ended with {line!r}")
        line += byte
    return line.decode(errors="replace").rstrip("\n")


@contextmanager
def running(runner: Runner, *argv: str, **options: Any) -> Iterator[Process]:
    """`nsinit ARGV...`, whose command says "ready" first; killed in the end.

    Its namespaces end with it; without any, its descendants are killed one by one.
    """
    with runner.spawn(*argv, **options) as process:
        assert read_line(process) == "ready"
        try:
            yield process
        finally:
            if "--no-unshare" in argv:
                for pid in processes.descendants(process.pid):
                    os.kill(pid, signal.SIGKILL)


def catching(runner: Runner, last: int = signal.SIGTERM) -> list[str]:
    """The command that writes the number of every signal it gets, up to `last`."""
    return [runner.python, "-I", "-S", "-c", CATCH, str(int(last))]


def status_of(process: Process, timeout_s: float = PATIENCE_S) -> int:
    """Wait for the end; the exit status, 128+N for signal N."""
    try:
        status = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"not ended after {timeout_s} s: {processes.command(process.pid)}") from None
    return status if status >= 0 else 128 - status


def init_of(process: Process) -> int:
    """The pid of the small init, as the test sees it: the launcher's only child."""
    (init,) = processes.children(process.pid)
    return init


def command_of(process: Process) -> int:
    """The pid of the command, as the test sees it: the init's first child."""
    return processes.children(init_of(process))[0]
