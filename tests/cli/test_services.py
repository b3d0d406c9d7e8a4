"""The verbs that talk to a supervisor, each against a fake one behind a real socket."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import trio

from nsinit.control import runtime
from nsinit.errors import InvalidConfig, OperationFailed
from tests.cli.conftest import Cli
from tests.support.fake_supervisor import Running, service

WEB_REASON = "exit 3, restart 4 of 10 in 8.2 s"
PS_KEYS = {
    "name",
    "state",
    "reason",
    "ready",
    "pid",
    "host_pid",
    "init_host_pid",
    "restarts",
    "uptime_s",
    "exit_code",
    "signal",
}


def test_ps_is_a_table(cli: Cli, running: Running) -> None:
    status, out, _ = cli("ps")
    assert status == 0
    assert [line.split() for line in out.splitlines()] == [
        ["NAME", "STATE", "READY", "PID", "HOST_PID", "RESTARTS", "UPTIME", "REASON"],
        ["db", "ready", "yes", str(os.getpid()), str(os.getpid()), "0", "1d", "2h"],
        ["web", "backoff", "no", "-", "-", "3", "-", *WEB_REASON.split()],
        ["worker", "stopped", "no", "-", "-", "0", "-", "asked", "to", "stop"],
    ]
    assert "\x1b" not in out


def test_ps_json_has_the_keys_that_are_an_interface(cli: Cli, running: Running) -> None:
    db, web, worker = json.loads(cli("ps", "--json").out)
    assert set(db) >= PS_KEYS
    assert db["host_pid"] == db["init_host_pid"] == db["pid"] == os.getpid()
    assert db["ready"] is True
    assert (web["exit_code"], web["signal"], web["restarts"], web["host_pid"]) == (3, None, 3, None)
    assert worker["signal"] == "SIGKILL"


def test_a_pid_that_the_caller_cannot_see_is_null(cli: Cli, running: Running) -> None:
    running.fake.services["db"] = service("db", pid=1 << 21)
    db = json.loads(cli("ps", "--json").out)[0]
    assert (db["pid"], db["host_pid"]) == (1 << 21, None)


def test_ps_cannot_be_made_to_move_the_cursor_or_to_break_the_table(cli: Cli, running: Running) -> None:
    running.fake.services = {"db": service("db", "failed", "one\ntwo\x1b[2J")}
    assert cli("ps").out.splitlines()[1].endswith("one two?[2J")


@pytest.mark.parametrize(
    ("state", "expected"),
    [("ready", 0), ("running", 0), ("completed", 0), ("unready", 3), ("failed", 3), ("stopped", 3), ("waiting", 3)],
)
def test_status_is_3_for_a_service_that_is_not_up(cli: Cli, running: Running, state: str, expected: int) -> None:
    running.fake.services["web"] = service("web", state)
    assert cli("status", "web").status == expected


def test_status_shows_what_is_known_and_the_last_lines(cli: Cli, running: Running) -> None:
    for number in range(4):
        running.call(running.fake.write, "web", f"line {number}")
    out = cli("status", "-n", "2", "web").out
    assert out.startswith("web: backoff (exit 3, restart 4 of 10 in 8.2 s)\n")
    assert "restarts    3\n" in out
    assert "last end    exit 3\n" in out
    assert out.endswith("  | line 2\n  | line 3\n")
    assert "killed by SIGKILL" in cli("status", "worker").out


def test_status_of_all_shows_the_supervisor_and_does_not_count_what_is_disabled(cli: Cli, running: Running) -> None:
    running.fake.services["web"] = service("web", "ready")
    status, out, _ = cli("status")
    assert status == 0
    assert out.startswith("supervisor fake, without namespaces\n")
    assert "orphans     2 reaped" in out
    running.fake.services["web"] = service("web", "failed")
    assert cli("status").status == 3


def test_status_json_is_an_array_in_the_order_of_the_names(cli: Cli, running: Running) -> None:
    entries = json.loads(cli("status", "--json", "web", "db").out)
    assert [entry["name"] for entry in entries] == ["web", "db"]
    assert set(entries[0]) >= PS_KEYS


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_start_stop_and_restart_pass_all_names_and_are_silent(cli: Cli, running: Running, verb: str) -> None:
    assert cli(verb, "db", "web") == (0, "", "")
    assert running.fake.calls == [(verb, "db", "web")]


def test_what_fails_is_exit_1_with_the_supervisor_s_reason(cli: Cli, running: Running) -> None:
    running.fake.failure = OperationFailed("service web failed: exit 1")
    assert cli("start", "web") == (1, "", "nsinit: service web failed: exit 1\n")


@pytest.mark.parametrize("time", ["0.05", "50ms", "0.05s"])
def test_a_timeout_is_exit_124(cli: Cli, running: Running, time: str) -> None:
    running.fake.gate = trio.Event()
    status, _, err = cli("stop", "--timeout", time, "web")
    assert status == 124
    assert "did not answer within 0.05 s" in err


def test_reload_says_what_it_did(cli: Cli, running: Running) -> None:
    assert cli("reload").out == "added: new\nremoved: old\nrestarted: web\n"
    assert json.loads(cli("reload", "--json").out)["updated"] == []


def test_a_reload_of_wrong_files_is_exit_6_with_bare_lines(cli: Cli, running: Running) -> None:
    running.fake.failure = InvalidConfig("a.toml:1: no\nb.toml:2: no")
    assert cli("reload") == (6, "", "a.toml:1: no\nb.toml:2: no\n")


class TestLogs:
    @pytest.fixture(autouse=True)
    def _lines(self, running: Running) -> None:
        for number in range(3):
            running.call(running.fake.write, "db", f"db {number}")
            running.call(running.fake.write, "worker", f"worker {number}")

    def test_all_lines_come_in_order_with_their_service_s_name(self, cli: Cli) -> None:
        lines = cli("logs").out.splitlines()
        assert lines[:2] == ["db     | db 0", "worker | worker 0"]
        assert len(lines) == 6

    def test_names_and_a_number_of_lines_choose(self, cli: Cli) -> None:
        assert cli("logs", "-n", "1", "db").out == "db | db 2\n"
        assert cli("logs", "--tail", "1").out.splitlines() == ["db     | db 2", "worker | worker 2"]
        assert cli("logs", "-n", "0").out == ""

    def test_the_prefix_can_be_left_out(self, cli: Cli) -> None:
        assert cli("logs", "-n1", "--no-prefix").out == "db 2\nworker 2\n"

    def test_timestamps_are_local_time_with_milliseconds(self, cli: Cli) -> None:
        out = cli("logs", "-n1", "-t", "--no-prefix", "db").out
        assert out.startswith("1970-01-01T")
        assert ":40.000" in out

    def test_json_is_one_object_a_line(self, cli: Cli) -> None:
        lines = [json.loads(line) for line in cli("logs", "--json", "db").out.splitlines()]
        assert lines[0] == {"seq": 1, "time": 1000.0, "service": "db", "stream": "stdout", "text": "db 0"}

    def test_text_that_is_no_text_passes(self, cli: Cli, running: Running) -> None:
        running.call(running.fake.write, "web", "\x00\x1b[31m\ufffd")
        assert cli("logs", "web").out == "web | \x00\x1b[31m\ufffd\n"

    def test_following_goes_on_until_the_supervisor_ends(self, running: Running) -> None:
        script = (
            "import sys\nfrom nsinit.cli import main\nsys.exit(main(['logs', '-f', '-n1', 'db', '--name', 'shop']))"
        )
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "db | db 2\n"
            running.call(running.fake.write, "db", "more")
            assert process.stdout.readline() == "db | more\n"
            running.call(running.fake.ended.set)
            assert process.stdout.read() == ""
        assert process.returncode == 0


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_down_returns_when_the_socket_is_closed_and_the_launcher_has_gone(
    cli: Cli, running: Running, runtime_directory: Path, child: subprocess.Popen[bytes]
) -> None:
    info = runtime_directory / "shop" / "info.json"
    info.write_text(info.read_text().replace(str(os.getpid()), str(child.pid)))
    assert runtime.find(name="shop").launcher_pid == child.pid

    def shutdown() -> None:
        running.fake.calls.append(("shutdown",))
        child.kill()
        running.fake.ended.set()

    running.fake.shutdown = shutdown  # type: ignore[method-assign]
    assert cli("down") == (0, "", "")
    assert running.fake.calls == [("shutdown",)]
    assert child.wait() == -9


def test_down_times_out_while_the_launcher_stays(
    cli: Cli, running: Running, runtime_directory: Path, child: subprocess.Popen[bytes]
) -> None:
    info = runtime_directory / "shop" / "info.json"
    info.write_text(info.read_text().replace(str(os.getpid()), str(child.pid)))
    status, _, err = cli("down", "--timeout", "50ms")
    assert status == 124
    assert f"process {child.pid}" in err


def test_list_shows_every_supervisor_that_runs(cli: Cli, running: Running, project: Path) -> None:
    out = cli("list").out.splitlines()
    assert out[0].split() == ["NAME", "PID", "VERSION", "DIRECTORY"]
    assert out[1].split()[0] == "shop"
    assert out[1].endswith(str(project / "services"))
    (entry,) = json.loads(cli("list", "--json").out)
    assert (entry["name"], entry["launcher_pid"]) == ("shop", os.getpid())
    assert entry["socket"].endswith("/shop/socket")


def test_list_is_empty_when_none_runs(cli: Cli) -> None:
    assert json.loads(cli("list", "--json").out) == []
    assert cli("list").status == 0


def _complete(*words: str) -> Sequence[str]:
    script = "from nsinit.cli import main\nmain([])"
    environment = os.environ | {
        "_NSINIT_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["nsinit", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_the_shell_completes_verbs_services_and_supervisors(running: Running) -> None:
    assert _complete("st") == ["status", "start", "stop"]
    assert _complete("start", "w") == ["web", "worker"]
    assert _complete("exec", "d") == ["db"]
    assert _complete("--name", "s") == ["shop"]
    assert _complete("ps", "--name", "nope", "") == [""]


@pytest.mark.parametrize("before", [["run"], ["-v"], ["-v", "--group"]])
def test_the_shell_completes_the_options_of_run(before: list[str]) -> None:
    assert _complete(*before, "--root") == ["--rootfs"]
    assert _complete(*before, "--dev", "m") == ["minimal"]
    assert _complete(*before, "--unshare", "u") == ["user", "uts"]


def test_the_shell_completes_run_itself_and_file_names_for_a_command() -> None:
    assert _complete("ru") == ["run"]
    assert "run" in _complete("")
    assert _complete("--", "ls", "/et") == ["/et"]
    assert _complete("run", "--rootfs", "/srv", "--", "ls", "-l", "/et") == ["/et"]


def test_completing_after_a_verb_that_does_not_exist_is_silent() -> None:
    _complete("nope", "x")


def test_completion_without_a_supervisor_is_empty_and_silent(project: Path) -> None:
    assert _complete("start", "w") == [""]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_shell_s_part(cli: Cli, shell: str) -> None:
    status, out, _ = cli("completion", shell)
    assert status == 0
    assert f"_NSINIT_COMPLETE={shell}_complete" in out
