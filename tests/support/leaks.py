"""What a run of the tests must not leave behind: processes, mounts, namespaces, files, damaged devices.

Other runs, and other programs, are at work on the same machine at the same time. What is this run's is told by descent
(the test process adopts its orphans) and by the mark in the environment. Files are this run's when their directories
are (see `isolation`); where an ordinary user runs the tests, by owner and by name.
"""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tests.support import isolation, processes

SHARED = ("/tmp", "/var/tmp", "/run", "/run/user", "/run/lock", "/run/netns", "/dev/shm", "/dev/mqueue")
# Directories of other test runs, what pytest keeps, and what mount(8) makes.
_OTHERS = re.compile(r"^(nsinit-t-\d+|pytest-of-.*|mount)$")


class Snapshot:
    """The state of the machine that tests may change and must restore."""

    def __init__(self) -> None:
        """Take it now."""
        self.mounts = {where: _mounts(f"/proc/{where}/mountinfo") for where in ("self", "1")}
        self.files = {file for directory in SHARED for file in _entries(directory)}
        self.descendants = set(processes.descendants(os.getpid()))
        self.damage = set(isolation.device_damage())

    def leaks(self, token: str, uids: Iterable[int], private: bool) -> list[str]:
        """What has come since and is still there, a sentence each.

        `token` marks the run's processes, `uids` are the accounts that only it uses; `private`
        tells whether the directories are its own.
        """
        found = []
        left = set(processes.descendants(os.getpid())) | set(processes.marked(token))
        for pid in sorted(left - self.descendants):
            found.append(f"process {pid} ({processes.command(pid)}){_in_namespaces(pid)}")
        for where, before in self.mounts.items():
            found += [f"mount {line}" for line in sorted(_mounts(f"/proc/{where}/mountinfo") - before)]
        now = {file for directory in SHARED for file in _entries(directory)}
        found += [f"file {file}" for file in sorted(now - self.files) if _is_ours(file, set(uids), private)]
        found += sorted(set(isolation.device_damage()) - self.damage)
        return found


def _mounts(path: str) -> set[str]:
    """Mount points with file system and source; bound namespaces (nsfs) are among them."""
    try:
        lines = Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return set()
    found = set()
    for line in lines:
        mount, _, kind = line.partition(" - ")
        fields = mount.split()
        found.add(f"{fields[4]} ({kind.split()[0]} {fields[3]})")
    return found


def _entries(directory: str) -> list[str]:
    with suppress(OSError):
        return [f"{directory}/{name}" for name in os.listdir(directory)]
    return []


def _is_ours(file: str, uids: set[int], private: bool) -> bool:
    path = Path(file)
    try:
        owner = path.lstat().st_uid
    except FileNotFoundError:
        return False
    if owner in uids:
        return True
    if _OTHERS.match(path.name):
        return False
    return private or "nsinit" in path.name


def _in_namespaces(pid: int) -> str:
    """The namespaces of a process that are not this process's, for a message."""
    kinds = []
    for kind in ("user", "mnt", "pid", "net", "uts", "ipc", "cgroup", "time"):
        with suppress(OSError):
            if processes.namespace(pid, kind) != processes.namespace(os.getpid(), kind):
                kinds.append(kind)
    return f", in namespaces of its own: {', '.join(kinds)}" if kinds else ""
