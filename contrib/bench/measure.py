"""Measuring commands beside each other: rounds are interleaved, so that what disturbs the machine hits all alike."""

import os
import signal
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter

Argv = list[str]


def run_once(argv: Argv) -> float:
    """The milliseconds of one run, which must succeed."""
    start = perf_counter()
    pid = os.posix_spawnp(argv[0], argv, os.environ)
    _, status = os.waitpid(pid, 0)
    elapsed = perf_counter() - start
    if status:
        raise SystemExit(f"failed with status {os.waitstatus_to_exitcode(status)}: {' '.join(argv)}")
    return elapsed * 1000


def interleaved(commands: Mapping[str, Argv], rounds: int) -> dict[str, list[float]]:
    """The milliseconds of `rounds` runs of each command, in turns, after two runs of each that don't count."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(-2, rounds):
        for name, argv in commands.items():
            elapsed = run_once(argv)
            if turn >= 0:
                times[name].append(elapsed)
    return times


def works(argv: Argv) -> bool:
    """Whether a command can be run here at all."""
    try:
        return subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


def print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of texts, the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    print(f"\n{title}\n")
    for row in (heads, ["-" * width for width in widths], *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  " + "  ".join(cells).rstrip())


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def children(pid: int) -> list[int]:
    """The children of a process."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    """All processes below a process."""
    found: list[int] = []
    queue = children(pid)
    while queue:
        found.append(queue.pop())
        queue += children(found[-1])
    return found


def pause(seconds: float) -> None:
    """Let time pass without using any."""
    signal.sigtimedwait([signal.SIGUSR2], seconds)


def verdict(value: float, limit: float) -> str:
    """Whether a limit is met."""
    return "met" if value <= limit else "MISSED"
