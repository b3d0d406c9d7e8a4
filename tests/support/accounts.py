"""Who the tests run as: root, an ordinary user without any entry in /etc, and one with subordinate id ranges."""

import fcntl
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import state

PREFIX = "nsinit-t-"


class Account(NamedTuple):
    """A uid and gid to run as; `name` is None when /etc/passwd does not know them."""

    uid: int
    gid: int
    name: str | None = None

    @property
    def is_root(self) -> bool:
        """Whether this is uid 0."""
        return self.uid == 0


def caller() -> Account:
    """The account of this process."""
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = None
    return Account(uid, os.getegid(), name)


def unprivileged() -> Account:
    """An ordinary user: the caller, or for root an id that is nobody's, another one in each run."""
    if os.geteuid() != 0:
        return caller()
    spare = 12345 + os.getpid() % 40000
    return Account(spare, spare)


def has_subordinate_ids(account: Account) -> bool:
    """Whether /etc/subuid and /etc/subgid give the account a range."""

    def listed(file: str) -> bool:
        try:
            lines = Path(file).read_text().splitlines()
        except OSError:
            return False
        return any(line.split(":")[0] in (account.name, str(account.uid)) for line in lines)

    return listed("/etc/subuid") and listed("/etc/subgid")


@contextmanager
def subordinate() -> Iterator[Account]:
    """An ordinary user with subordinate ranges: the caller, or for root a new one, removed in the end.

    Raises:
        LookupError: says what this machine lacks.
    """
    if shutil.which("newuidmap") is None:
        raise LookupError("newuidmap is not installed (package uidmap)")
    if os.geteuid() != 0:
        if not has_subordinate_ids(caller()):
            raise LookupError("the caller has no range in /etc/subuid and /etc/subgid")
        yield caller()
        return
    name = f"{PREFIX}{os.getpid()}"
    with _one_at_a_time():
        _remove_forgotten()
        Path("/etc/subuid").touch()
        Path("/etc/subgid").touch()
        # Ranges are handed out by useradd only where login.defs says so; they must not overlap another run's.
        subprocess.run(
            ["/usr/sbin/useradd", "--no-create-home", "--no-log-init", "--shell", "/bin/sh", name], check=True
        )
        entry = pwd.getpwnam(name)
        account = Account(entry.pw_uid, entry.pw_gid, name)
        if not has_subordinate_ids(account):
            first = 1_000_000_000 + os.getpid() * 65536
            ids = f"{first}-{first + 65535}"
            subprocess.run(["/usr/sbin/usermod", "--add-subuids", ids, "--add-subgids", ids, name], check=True)
    try:
        yield account
    finally:
        with _one_at_a_time():
            _remove(name)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """useradd gives up at once when another one holds /etc/passwd.lock: other test runs wait here instead."""
    lock_fd = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock_fd)


def _remove_forgotten() -> None:
    """Remove the users of runs that were killed."""
    for entry in pwd.getpwall():
        number = entry.pw_name.removeprefix(PREFIX)
        if entry.pw_name.startswith(PREFIX) and number.isdigit() and not state(int(number)):
            _remove(entry.pw_name)


def _remove(name: str) -> None:
    # --force: also when a process of the user is still there; the check for leaks tells of that.
    subprocess.run(["/usr/sbin/userdel", "--force", name], check=True, capture_output=True)
