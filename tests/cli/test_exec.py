"""exec, from a fake supervisor's answer into a real sandbox."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from nsinit.inspect import procfs
from tests.cli.conftest import Cli
from tests.support.fake_supervisor import Running, service

SANDBOXED = "import sys; print('up', flush=True); sys.stdin.read()"


@pytest.fixture
def sandboxed() -> Iterator[int]:
    """The pid of a command that nsinit runs in all new namespaces."""
    with subprocess.Popen(
        [sys.executable, "-m", "nsinit", "--", sys.executable, "-c", SANDBOXED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == b"up\n"
        yield max(procfs.descendants(launcher.pid), key=lambda pid: procfs.read_status(pid).ns_pids[-1])
        assert launcher.stdin is not None
        launcher.stdin.close()


@pytest.fixture
def web(running: Running, sandboxed: int) -> int:
    running.fake.services["web"] = service("web", pid=sandboxed)
    return sandboxed


def nsinit_exec(*arguments: str) -> "subprocess.CompletedProcess[str]":
    script = "import sys\nfrom nsinit.cli import main\nsys.exit(main(['exec', *sys.argv[1:]]))"
    return subprocess.run(
        [sys.executable, "-c", script, "--name", "shop", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("separator", [[], ["--"]])
def test_the_command_s_status_and_output_pass(web: int, separator: list[str]) -> None:
    done = nsinit_exec("web", *separator, "/bin/sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_options_after_the_name_are_the_command_s(web: int) -> None:
    assert nsinit_exec("web", "/bin/echo", "-u", "--json", "--").stdout == "-u --json --\n"


def test_a_signal_is_128_and_its_number(web: int) -> None:
    assert nsinit_exec("web", "--", "/bin/sh", "-c", "kill -TERM $$").returncode == 143


@pytest.mark.parametrize(("command", "status"), [("/no/such/file", 127), ("/etc/passwd", 126)])
def test_what_cannot_be_executed_is_127_or_126(web: int, command: str, status: int) -> None:
    done = nsinit_exec("web", "--", command)
    assert done.returncode == status
    assert done.stderr.startswith("nsinit: cannot ")
    assert command in done.stderr


def test_it_runs_in_the_service_s_namespaces_with_its_environment_and_more(web: int) -> None:
    done = nsinit_exec(
        "-e", "B=2", "web", "--", "/bin/sh", "-c", "echo $A $B; readlink /proc/self/ns/pid /proc/self/ns/net; pwd"
    )
    inside = [os.readlink(f"/proc/{web}/ns/{kind}") for kind in ("pid", "net")]
    assert done.stdout.splitlines() == ["1 2", *inside, "/"]
    assert os.readlink("/proc/self/ns/pid") not in inside


def test_the_directory_can_be_chosen(web: int) -> None:
    assert nsinit_exec("-w", "/usr", "web", "--", "/bin/pwd").stdout == "/usr\n"


def test_a_service_that_does_not_run_is_inactive(cli: Cli, running: Running) -> None:
    status, _, err = cli("exec", "worker", "--", "true")
    assert (status, err) == (3, "nsinit: service worker has no process: it is stopped\n")


def test_a_service_that_is_not_visible_from_here_is_said_to_be_so(cli: Cli, running: Running) -> None:
    running.fake.services["web"] = service("web", pid=1 << 21)
    status, _, err = cli("exec", "web", "--", "true")
    assert status == 1
    assert "is not visible from here" in err
