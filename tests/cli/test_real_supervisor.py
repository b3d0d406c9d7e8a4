"""Every verb against a real supervisor, as root and as an ordinary user."""

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from nsinit.inspect import procfs
from tests.support.runner import Runner
from tests.support.supervised import Supervised

SLEEPER = """\
command = ["/bin/sh", "-c", "echo {name}; exec sleep 1000"]
env = {{ COLOUR = "blue" }}
"""


@pytest.fixture
def up(nsinit: Runner) -> Iterator[Runner]:
    """A supervisor of two services, in the runner's directory."""
    nsinit.write("shop/services/db.toml", SLEEPER.format(name="db"))
    nsinit.write("shop/services/web.toml", SLEEPER.format(name="web") + "[depends_on.db]\n")
    _ok(nsinit, "up", "--detach")
    try:
        yield nsinit
    finally:
        nsinit.run("--name", "shop", "down")


def _ok(runner: Runner, *arguments: str) -> str:
    done = runner.run("-C", str(runner.directory / "shop"), *arguments)
    assert (done.status, done.stderr) == (0, "")
    return done.stdout


def _ps(runner: Runner) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in json.loads(_ok(runner, "ps", "--json"))}


def test_services_are_shown_with_pids_on_both_sides(up: Runner) -> None:
    services = _ps(up)
    assert {name: entry["state"] for name, entry in services.items()} == {"db": "ready", "web": "ready"}
    for name, entry in services.items():
        assert entry["pid"] != entry["host_pid"]
        with open(f"/proc/{entry['host_pid']}/cmdline") as file:
            assert file.read() == "sleep\x001000\x00"
        with open(f"/proc/{entry['host_pid']}/status") as file:
            numbers = next(line for line in file if line.startswith("NSpid:")).split()[1:]
        assert numbers[0] == str(entry["host_pid"])
        assert numbers[-2] == str(entry["pid"])
        with open(f"/proc/{entry['init_host_pid']}/status") as file:
            assert next(line for line in file if line.startswith("NSpid:")).split()[-1] == "1"
        assert _ok(up, "logs", "--no-prefix", name) == f"{name}\n"


def test_services_stop_start_and_restart(up: Runner) -> None:
    _ok(up, "stop", "db")
    assert {name: entry["state"] for name, entry in _ps(up).items()} == {"db": "stopped", "web": "stopped"}
    assert up.run("--name", "shop", "status", "web").status == 3
    _ok(up, "start", "web")
    before = _ps(up)
    assert {name: entry["state"] for name, entry in before.items()} == {"db": "ready", "web": "ready"}
    _ok(up, "restart", "web")
    after = _ps(up)
    assert after["web"]["host_pid"] != before["web"]["host_pid"]
    assert after["db"]["host_pid"] == before["db"]["host_pid"]


def test_a_reload_starts_and_removes_and_a_wrong_file_changes_nothing(up: Runner) -> None:
    up.write("shop/services/new.toml", SLEEPER.format(name="new"))
    assert _ok(up, "reload") == "added: new\n"
    up.write("shop/services/new.toml", "comand = 1\n")
    done = up.run("--name", "shop", "reload")
    assert done.status == 6
    assert "new.toml:1: " in done.stderr
    assert set(_ps(up)) == {"db", "new", "web"}


def test_exec_joins_the_service_and_passes_its_status_on(up: Runner) -> None:
    host_pid = _ps(up)["web"]["host_pid"]
    done = up.run("--name", "shop", "exec", "web", "--", "/bin/sh", "-c", "echo $COLOUR; hostname; exit 9")
    assert (done.status, done.stdout, done.stderr) == (9, "blue\nweb\n", "")
    processes = _ok(up, "exec", "web", "--", "/bin/ls", "/proc").split()
    assert "1" in processes
    assert str(host_pid) not in processes


def test_exec_in_a_terminal_gets_one_of_its_own(up: Runner) -> None:
    arguments = [up.nsinit, "--name", "shop", "exec", "web", "--", "/bin/sh", "-c", "test -t 0 && echo a terminal"]
    with up.terminal(arguments) as terminal:
        assert "a terminal" in terminal.read_to_end()
        assert terminal.wait() == 0


def test_a_second_supervisor_of_the_directory_is_refused(up: Runner) -> None:
    done = up.run("-C", str(up.directory / "shop"), "up", "--detach")
    assert done.status == 1
    assert "a supervisor shop is already running (pid " in done.stderr


def test_down_leaves_neither_processes_nor_files(up: Runner) -> None:
    processes = [entry[key] for entry in _ps(up).values() for key in ("host_pid", "init_host_pid")]
    _ok(up, "down")
    assert not [pid for pid in processes if _exists(pid)]
    assert list((up.directory / "run").iterdir()) == []
    assert up.run("--name", "shop", "ps").status == 7


def test_root_may_control_a_user_s_supervisor_and_another_user_may_not(
    nsinit_as_root: Runner, nsinit_as_user: Runner, up: Runner
) -> None:
    runtime = {"NSINIT_RUNTIME_DIR": str(up.directory / "run")}
    assert nsinit_as_root.run("--name", "shop", "restart", "web", env=runtime).status == 0
    if up.account.is_root:
        done = nsinit_as_user.run("--name", "shop", "ps", env=runtime)
        assert done.status == 5
        assert "only the owner of its supervisors and root may" in done.stderr


def test_a_supervisor_that_was_killed_is_said_to_have_been(nsinit: Runner) -> None:
    machine = Supervised(nsinit)
    machine.service("web", SLEEPER.format(name="web"))
    with machine:
        machine.expect("service.ready", "web")
        [supervisor] = procfs.children(machine.process.pid)
        os.kill(supervisor, signal.SIGKILL)
        assert machine.process.wait(30) == 137
    assert "nsinit: the supervisor was killed by SIGKILL, and its services with it: " in machine.log


def _exists(pid: int) -> bool:
    try:
        open(f"/proc/{pid}/stat").close()
    except OSError:
        return False
    return True
