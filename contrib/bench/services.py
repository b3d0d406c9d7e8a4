"""What services cost: starting 100, beside supervisord; the memory of an init; what a quiet supervisor uses.

    .venv/bin/python contrib/bench/services.py [COUNT]

Takes supervisord from the PATH, or installs it from PyPI for the occasion. The memory is told to root only.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from time import perf_counter

from measure import children, descendants, median, pause, print_table, verdict

NSINIT = str(Path(sys.executable).with_name("nsinit"))
# The argument by which the services are known in /proc.
MARK = "86399.5"
COMMAND = f"sleep {MARK}"
ROUNDS = 5
QUIET_S = 10.0
SERVICE_LIMIT_MS = 5.0
SUPERVISORD_LIMIT = 0.5
MEMORY_LIMIT_KIB = 300


class Watch:
    """Counts the services that have been executed below a supervisor.

    What is measured shares the processors with who measures, so this has to be cheap: neither a service that is there
    nor its init is looked at again.
    """

    def __init__(self, pid: int) -> None:
        """Watch below `pid`."""
        self._open = {pid: 0}
        self._depths = {pid: 0}
        self._count = 0

    def count(self) -> int:
        """How many there are by now."""
        for pid, parent in list(self._open.items()):
            if _is_service(pid):
                self._count += 1
                del self._open[pid]
                # A launcher, and the supervisor below it, go on; an init has its one service.
                if self._depths[parent] > 1:
                    self._open.pop(parent, None)
                continue
            for child in children(pid):
                if child not in self._depths:
                    self._depths[child] = self._depths[pid] + 1
                    self._open[child] = pid
        return self._count


def _is_service(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == f"sleep\0{MARK}\0".encode()
    except OSError:
        return False


@contextmanager
def supervised(argv: list[str], count: int, log: Path) -> Iterator[tuple[int, float]]:
    """Run a supervisor, its output in `log`; yields its pid and the milliseconds until all services are executed."""
    start = perf_counter()
    with (
        log.open("wb") as output,
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as process,
    ):
        try:
            watch = Watch(process.pid)
            while watch.count() < count:
                if process.poll() is not None:
                    raise SystemExit(f"ended early with {process.returncode}: {' '.join(argv)}\n{log.read_text()}")
                pause(0.002)
            yield process.pid, (perf_counter() - start) * 1000
        finally:
            process.terminate()


def acknowledged_ms(log: Path) -> float:
    """The milliseconds from the first start to the last acknowledged exec, as the supervisor's events tell."""
    times: dict[str, list[datetime]] = {}
    for line in log.read_text().splitlines():
        event = json.loads(line)
        if event["event"] in ("service.starting", "service.ready"):
            times.setdefault(event["event"], []).append(datetime.fromisoformat(event["timestamp"]))
    return (max(times["service.ready"]) - min(times["service.starting"])).total_seconds() * 1000


def nsinit_with(directory: Path, count: int) -> list[str]:
    """The command of a supervisor with `count` services."""
    services = directory / f"nsinit-{count}"
    if not services.exists():
        services.mkdir()
        for number in range(count):
            (services / f"s{number:03}.toml").write_text(f'command = "{COMMAND}"\n')
    return [NSINIT, "up", "--log-format", "json", str(services)]


def supervisord_with(directory: Path, program: str, count: int) -> list[str]:
    """The same for supervisord; a program counts as started at once."""
    config = directory / "supervisord.conf"
    lines = ["[supervisord]", "nodaemon=true", f"directory={directory}", "logfile=/dev/null", "logfile_maxbytes=0"]
    lines += [
        f"pidfile={directory}/supervisord.pid",
        f"childlogdir={directory}",
        "user=root" if not os.getuid() else "",
    ]
    for number in range(count):
        lines += [f"[program:s{number:03}]", f"command={COMMAND}", "startsecs=0"]
    config.write_text("\n".join(lines) + "\n")
    return [program, "-c", str(config)]


def find_supervisord(directory: Path) -> str:
    """supervisord, installed in a virtual environment below `directory` if there is none."""
    found = shutil.which("supervisord")
    if found:
        return found
    subprocess.run([sys.executable, "-m", "venv", directory / "venv"], check=True)
    subprocess.run([directory / "venv/bin/pip", "install", "-q", "supervisor", "setuptools<81"], check=True)
    return str(directory / "venv/bin/supervisord")


def compare(directory: Path, count: int) -> None:
    """`up` of many services beside supervisord's, in turns."""
    commands = {
        "nsinit, 1 service": (nsinit_with(directory, 1), 1),
        f"nsinit, {count} services": (nsinit_with(directory, count), count),
        f"supervisord, {count} services": (supervisord_with(directory, find_supervisord(directory), count), count),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    started = []
    log = directory / "log"
    for _ in range(ROUNDS):
        for name, (argv, expected) in commands.items():
            with supervised(argv, expected, log) as (_, elapsed):
                times[name].append(elapsed)
            if argv[0] == NSINIT and expected == count:
                started.append(acknowledged_ms(log))
    rows = [[name, f"{median(values):.0f}", f"{min(values):.0f}"] for name, values in times.items()]
    print_table(f"Until all services are executed ({ROUNDS} interleaved rounds)", ["", "median ms", "min ms"], rows)
    each = median(started) / count
    print(f"\n  from the first start to the last acknowledged exec: {median(started):.0f} ms,")
    print(f"  {each:.2f} ms a service; limit {SERVICE_LIMIT_MS}: {verdict(each, SERVICE_LIMIT_MS)}")
    _, many, other = (median(values) for values in times.values())
    ratio = many / other
    print(f"  {ratio:.2f} of supervisord's time; limit {SUPERVISORD_LIMIT}: {verdict(ratio, SUPERVISORD_LIMIT)}")


def private_kib(pid: int) -> int:
    """The memory that only this process has."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kib) for kib in re.findall(r"^Private_\w+: +(\d+) kB", rollup, re.MULTILINE))


def cpu_ms(pid: int) -> float:
    """The processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def wakeups(pid: int) -> int:
    """How often a process has gone to sleep, which is how often it was woken."""
    found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def look_at(directory: Path, count: int) -> None:
    """Memory and quietness of one supervisor with many services."""
    argv = nsinit_with(directory, count)
    with supervised(argv, count, directory / "log") as (launcher, _):
        status = subprocess.run([NSINIT, "ps", "--json", "-C", argv[-1]], capture_output=True, text=True, check=True)
        inits = [service["init_host_pid"] for service in json.loads(status.stdout)]
        if os.geteuid() == 0:
            memory = [private_kib(pid) for pid in inits]
            rows = [[f"{count} inits", f"{median(memory):.0f}", f"{max(memory)}"]]
            print_table("Private memory of a service's init (smaps_rollup)", ["", "median KiB", "max KiB"], rows)
            print(f"\n  limit {MEMORY_LIMIT_KIB} KiB: {verdict(median(memory), MEMORY_LIMIT_KIB)}")
        pause(3)  # what a start leaves to do is done
        everyone = [launcher, *(pid for pid in descendants(launcher) if not _is_service(pid))]
        before = _sums(everyone)
        pause(QUIET_S)
        after = _sums(everyone)
        rows = [[f"{len(everyone)} processes of nsinit", f"{after[0] - before[0]:.0f}", f"{after[1] - before[1]}"]]
        print_table(f"{QUIET_S:.0f} s in which nothing happens", ["", "CPU ms", "wakeups"], rows)
        print(f"\n  limit none: {verdict(after[1] - before[1], 0)}")


def _sums(pids: list[int]) -> tuple[float, int]:
    return sum(map(cpu_ms, pids)), sum(map(wakeups, pids))


def main() -> None:
    """Measure, and print tables."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory(prefix="nsinit-bench-") as name:
        directory = Path(name)
        os.environ["NSINIT_RUNTIME_DIR"] = str(directory / "run")
        (directory / "run").mkdir(mode=0o700)
        parts: list[Callable[[Path, int], None]] = [compare, look_at]
        for part in parts:
            part(directory, count)


if __name__ == "__main__":
    main()
