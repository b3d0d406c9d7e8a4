"""/proc, read and parsed."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from errno import ENOENT, ESRCH

import pytest

from nsinit.errors import KernelError
from nsinit.inspect import procfs
from nsinit.kernel.namespaces import FILES, TYPES

PR_SET_NAME = 15


@pytest.fixture
def cat() -> Iterator[subprocess.Popen[bytes]]:
    """A child that has been executed, and ends at the end of its input."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"x")
        process.stdin.flush()
        process.stdout.read(1)
        yield process


@pytest.fixture
def ended() -> Iterator[int]:
    """The pid of a process that has ended and was reaped."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    yield pid


@pytest.fixture
def zombie() -> Iterator[int]:
    """The pid of a process that has ended and was not reaped."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    yield pid
    os.waitpid(pid, 0)


def test_status_tells_who_a_process_is(cat: subprocess.Popen[bytes]) -> None:
    status = procfs.read_status(cat.pid)
    assert (status.name, status.pid, status.ppid, status.threads) == ("cat", cat.pid, os.getpid(), 1)
    assert status.uids == (os.getuid(),) * 4
    assert status.gids == (os.getgid(),) * 4
    assert status.ns_pids[-1] == cat.pid
    assert not status.no_new_privs
    assert status.bounding & 1


def test_status_of_a_process_that_has_ended_is_esrch(ended: int) -> None:
    with pytest.raises(KernelError) as caught:
        procfs.read_status(ended)
    assert caught.value.errno == ESRCH
    assert str(ended) in str(caught.value)
    assert "ended" in str(caught.value)


def test_parent_is_found_when_the_name_looks_like_the_rest_of_the_line() -> None:
    read_fd, write_fd = os.pipe()
    ready_fd, told_fd = os.pipe()
    pid = os.fork()
    if not pid:
        ctypes.CDLL(None).prctl(PR_SET_NAME, b") R 1 (7 7", 0, 0, 0)
        os.write(told_fd, b"x")
        os.close(write_fd)
        os.read(read_fd, 1)
        os._exit(0)
    os.read(ready_fd, 1)
    try:
        assert procfs.parents()[pid] == os.getpid()
        assert procfs.read_status(pid).name == ") R 1 (7 7"
    finally:
        for fd in (read_fd, write_fd, ready_fd, told_fd):
            os.close(fd)
        os.waitpid(pid, 0)


def test_children_are_those_of_the_process_and_nobody_elses(cat: subprocess.Popen[bytes], zombie: int) -> None:
    found = procfs.children(os.getpid())
    assert cat.pid in found
    assert zombie in found
    assert os.getpid() not in found
    assert procfs.children(cat.pid) == []


def test_descendants_come_breadth_first() -> None:
    table = {2: 1, 5: 2, 3: 1, 6: 3, 9: 5, 4: 100}
    assert procfs.descendants(1, table) == [2, 3, 5, 6, 9]
    assert procfs.descendants(9, table) == []


def test_descendants_reach_grandchildren() -> None:
    with subprocess.Popen(
        ["sh", "-c", "exec 3<&0; cat <&3 & echo $!; wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdin and shell.stdout
        grandchild = int(shell.stdout.readline())
        assert grandchild in procfs.descendants(shell.pid)
        assert {shell.pid, grandchild} <= set(procfs.descendants(os.getpid()))
        shell.kill()


def test_a_child_whose_parent_ended_during_the_scan_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    # 20's parent 10 ends after 20 was asked and before 10's own turn.
    answers: dict[int, list[int | None]] = {20: [10, 1], 10: [None, None], 1: [0]}
    monkeypatch.setattr(os, "listdir", lambda _: ["20", "10", "1", "self"])
    monkeypatch.setattr(procfs, "_parent", lambda pid: answers[pid].pop(0))
    assert procfs.parents() == {20: 1, 1: 0}


def test_a_parent_born_after_the_listing_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {20: 10, 10: 1, 1: 0}
    monkeypatch.setattr(os, "listdir", lambda _: ["20", "1"])
    monkeypatch.setattr(procfs, "_parent", lambda pid: answers[pid])
    assert procfs.parents() == {20: 10, 10: 1, 1: 0}


def test_a_parent_that_proc_hides_ends_the_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {20: 10, 10: None}
    monkeypatch.setattr(os, "listdir", lambda _: ["20"])
    monkeypatch.setattr(procfs, "_parent", lambda pid: answers[pid])
    assert procfs.parents() == {20: 10}


@pytest.mark.parametrize("kind", TYPES)
def test_namespaces_of_a_plain_child_are_ours(cat: subprocess.Popen[bytes], kind: str) -> None:
    assert procfs.ns_id(cat.pid, kind) == procfs.ns_id(os.getpid(), kind)
    assert os.readlink(f"/proc/self/ns/{FILES[kind]}").endswith(f":[{procfs.ns_id(cat.pid, kind)[1]}]")


def test_namespace_of_an_unreaped_process_is_esrch(zombie: int) -> None:
    with pytest.raises(KernelError) as caught:
        procfs.ns_id(zombie, "net")
    assert caught.value.errno == ESRCH


def test_namespace_type_that_the_kernel_lacks_is_enoent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "future", "future")
    with pytest.raises(KernelError) as caught:
        procfs.ns_id(os.getpid(), "future")
    assert caught.value.errno == ENOENT
