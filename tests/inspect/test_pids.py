"""Pids of the supervisor's world, translated into the caller's."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nsinit.errors import KernelError, OperationFailed
from nsinit.inspect import pids, procfs

# PID 1 of a pid namespace with a child next to it, and a nested pid namespace below; prints pids as seen by PID 1.
MACHINE = 'sleep 1000 & echo $!; unshare --pid --fork --kill-child sh -c "echo; exec sleep 1000" & wait'


@contextmanager
def machine(*options: str) -> Iterator[tuple[int, int]]:
    """A tree of processes in namespaces: the pid of its launcher, and its sleeping child's pid as printed inside."""
    command = ["unshare", "--mount-proc", "--fork", "--kill-child", *options, "sh", "-c", MACHINE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as launcher:
        try:
            assert launcher.stdout
            inner = int(launcher.stdout.readline())
            assert launcher.stdout.readline() == "\n"
            yield launcher.pid, inner
        finally:
            launcher.kill()


@pytest.fixture(scope="module")
def nested() -> Iterator[tuple[int, int]]:
    with machine("--pid") as found:
        yield found


def test_supervisor_is_the_launchers_child_that_is_pid_1(nested: tuple[int, int]) -> None:
    launcher, _ = nested
    found = pids.supervisor_host_pid(launcher, namespaces=True)
    assert [found] == procfs.children(launcher)


def test_supervisor_without_namespaces_is_the_launcher(nested: tuple[int, int]) -> None:
    assert pids.supervisor_host_pid(nested[0], namespaces=False) == nested[0]


def test_a_launcher_without_a_pid_1_below_it_is_refused() -> None:
    with (
        subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process,
        pytest.raises(OperationFailed, match=str(process.pid)),
    ):
        pids.supervisor_host_pid(process.pid, namespaces=True)


def test_pids_of_a_pid_namespace_are_translated(nested: tuple[int, int]) -> None:
    launcher, inner = nested
    supervisor = pids.supervisor_host_pid(launcher, namespaces=True)
    found = pids.host_pids(supervisor)
    assert found[1] == supervisor
    assert procfs.read_status(found[inner]).name == "sleep"
    assert procfs.read_status(found[inner]).ns_pids[-1] == inner


def test_members_of_nested_pid_namespaces_are_known_by_the_supervisors_pid(nested: tuple[int, int]) -> None:
    supervisor = pids.supervisor_host_pid(nested[0], namespaces=True)
    found = pids.host_pids(supervisor)
    assert set(found.values()) == {supervisor, *procfs.descendants(supervisor)}
    deepest = [pid for pid in found.values() if len(procfs.read_status(pid).ns_pids) == 3]
    assert len(deepest) == 1
    assert procfs.read_status(deepest[0]).ns_pids[-1] == 1
    assert {inner for inner, outer in found.items() if outer == deepest[0]} == {
        procfs.read_status(deepest[0]).ns_pids[1]
    }


def test_pids_are_the_same_on_both_sides_without_a_pid_namespace() -> None:
    with subprocess.Popen(
        ["sh", "-c", "exec 3<&0; cat <&3 & echo $!; wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdin and shell.stdout
        child = int(shell.stdout.readline())
        assert pids.host_pids(shell.pid) == {shell.pid: shell.pid, child: child}
        shell.kill()


def test_pids_of_a_supervisor_that_has_ended_are_refused() -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(KernelError, match="ESRCH"):
        pids.host_pids(pid)
