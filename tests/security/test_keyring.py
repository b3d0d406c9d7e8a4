"""The keys of whoever starts a sandbox stay outside."""

import os
import random
from pathlib import Path

import pytest

from tests.support.runner import Result, Runner
from tests.support.supervised import Supervised

# add_key and keyctl
NUMBERS = {"x86_64": (248, 250), "aarch64": (217, 219), "riscv64": (217, 219)}

KEYS = f"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
add_key, keyctl = {NUMBERS.get(os.uname().machine)}
JOIN_SESSION_KEYRING, SEARCH, READ, SESSION = 1, 10, 11, -3
"""
# Puts a key into a new session keyring, or as many as are allowed, and becomes another program.
HOLD = (
    KEYS
    + """
if uid := int(sys.argv[2]):
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
libc.syscall(keyctl, JOIN_SESSION_KEYRING, None)
libc.syscall(add_key, b"user", b"nsinit-test", b"a secret", 8, SESSION)
for number in range(int(sys.argv[1])):
    libc.syscall(add_key, b"user", b"filler %d" % number, b"-", 1, SESSION)
os.execvp(sys.argv[3], sys.argv[3:])
"""
)
LOOK = (
    KEYS
    + """
key = libc.syscall(keyctl, SEARCH, SESSION, b"user", b"nsinit-test", 0)
content = ctypes.create_string_buffer(64)
print("found " + content.value.decode() if libc.syscall(keyctl, READ, key, content, 63) > 0 else "nothing", flush=True)
"""
)

pytestmark = pytest.mark.skipif(os.uname().machine not in NUMBERS, reason="the numbers of its system calls are needed")


@pytest.fixture
def look(nsinit: Runner) -> list[str]:
    """The command that tells whether it has the key."""
    return [nsinit.python, "-I", str(nsinit.write("look.py", LOOK))]


def holding(runner: Runner, *argv: str, fillers: int = 0, uid: int = 0) -> Result:
    """Run a command whose session keyring has the key, as another user if `uid` is given."""
    return runner.command([runner.python, "-I", runner.write("hold.py", HOLD), str(fillers), str(uid), *argv])


def test_a_plain_command_has_the_key(nsinit: Runner, look: list[str]) -> None:
    assert holding(nsinit, *look).stdout == "found a secret\n"


def test_a_sandbox_has_no_key_of_its_launcher(nsinit: Runner, look: list[str]) -> None:
    result = holding(nsinit, nsinit.nsinit, "--", *look)
    assert (result.stdout, result.stderr) == ("nothing\n", "")


def test_a_service_has_no_key_of_who_started_the_supervisor(nsinit: Runner, look: list[str]) -> None:
    up = Supervised(nsinit)
    up.service("spy", f"command = {look!r}\ntype = 'oneshot'\n[sandbox]\ntmpfs = []\n")
    nsinit.write("services/nsinit.toml", "[supervisor]\nexit_when = 'all-stopped'\n")
    result = holding(nsinit, nsinit.nsinit, "up")
    assert "nothing" in result.stdout
    assert "found" not in result.stdout


def test_a_command_that_enters_a_service_has_no_key_of_its_caller(nsinit: Runner, look: list[str]) -> None:
    up = Supervised(nsinit)
    up.service("web", "command = 'sleep 1000'\n[sandbox]\ntmpfs = []\n")
    with up:
        up.expect("service.ready", "web")
        result = holding(nsinit, nsinit.nsinit, "exec", "web", "--", *look)
        assert (result.stdout, result.stderr) == ("nothing\n", "")


def test_a_user_without_room_for_a_keyring_is_told_so(nsinit_as_root: Runner) -> None:
    limit = int(Path("/proc/sys/kernel/keys/maxkeys").read_text())
    # A user who has had no key yet: those of earlier tests give their room back whenever the kernel collects them.
    uid = random.randrange(10**6, 10**9)
    result = holding(nsinit_as_root, nsinit_as_root.nsinit, "--", "true", fillers=limit, uid=uid)
    assert result.status == 125
    assert "session keyring" in result.stderr
    assert "/proc/sys/kernel/keys/maxkeys" in result.stderr
