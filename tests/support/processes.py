"""/proc, as the tests need it: who descends from whom, who carries this run's mark."""

import os
from contextlib import suppress
from pathlib import Path

# In the environment of everything a test run starts; its value names the run.
MARK = "NSINIT_TEST_RUN"


def children(pid: int) -> list[int]:
    """The children of a process, zombies included; none when it is gone."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    """All processes below a process, zombies left out."""
    found: list[int] = []
    queue = children(pid)
    while queue:
        pid = queue.pop()
        queue += children(pid)
        if state(pid) not in ("Z", "X", ""):
            found.append(pid)
    return found


def state(pid: int) -> str:
    """The letter of a process's state (R, S, T, Z ...), "" when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


def status_field(pid: int, field: str) -> list[str]:
    """The words of one line of /proc/PID/status (`NSpid`, `SigIgn`, `Uid` ...)."""
    for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return value.split()
    raise LookupError(f"/proc/{pid}/status has no {field}")


def command(pid: int) -> str:
    """The command line of a process, for messages."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        return b" ".join(words).decode(errors="replace") or f"({state(pid)})"
    return "(gone)"


def marked(token: str) -> list[int]:
    """All processes, apart from this one, that carry the mark of the run `token` names."""
    sought = f"{MARK}={token}".encode()
    found: list[int] = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with suppress(OSError):
            if sought in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                found.append(int(name))
    return found


def namespace(pid: int, kind: str) -> str:
    """The identity of a process's namespace, as `net:[4026531840]`; `kind` as in /proc/PID/ns."""
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def reap_orphans() -> None:
    """Reap the zombies this process has been given as a subreaper (and its own, which nobody waits for any more)."""
    for pid in children(os.getpid()):
        if state(pid) == "Z":
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
