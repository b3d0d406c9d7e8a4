import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from nsinit import __version__
from nsinit.cli.app import VERBS
from nsinit.control import client
from nsinit.errors import KernelError, OperationFailed
from tests.cli.conftest import Cli
from tests.support.fake_supervisor import Running


def test_help_shows_every_verb_and_the_ways_to_run_a_command(cli: Cli) -> None:
    status, out, _ = cli("--help")
    assert status == 0
    assert "nsinit [OPTIONS] -- CMD" in out
    assert "nsinit run [OPTIONS] -- CMD" in out
    listed = out.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(VERBS)
    assert not any(line.endswith("...") for line in listed)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help_of_its_own(cli: Cli, verb: str) -> None:
    status, out, err = cli(verb, "-h")
    assert (status, err) == (0, "")
    assert out.startswith(f"Usage: nsinit {verb} ")


@pytest.mark.parametrize("verb", ["ps", "status", "logs", "list", "check", "config", "doctor"])
def test_every_verb_that_reads_has_json(cli: Cli, verb: str) -> None:
    assert "--json" in cli(verb, "--help").out


def test_the_version_is_the_package_s(cli: Cli) -> None:
    assert cli("--version") == (0, f"nsinit {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pss"], "there is no verb pss: did you mean `nsinit ps`?"),
        (["rnu"], "did you mean `nsinit run`?"),
        (["sleep", "5"], "there is no verb sleep: to run a command, write `nsinit -- sleep`"),
        (["--nope"], "No such option"),
        (["start"], "Missing argument 'NAME...'"),
        (["logs", "-n", "-1"], "not in the range"),
        (["stop", "--timeout", "soon", "web"], "'soon' is not a duration"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
        (["exec", "web"], "Missing argument '[--] CMD"),
        (["exec", "web", "--"], "give the command to run after --"),
        (["exec", "-e", "A", "web", "true"], "'A' is no assignment: write NAME=VALUE"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(cli: Cli, arguments: Sequence[str], message: str) -> None:
    status, out, err = cli(*arguments)
    assert (status, out) == (2, "")
    assert message in err


def test_no_verb_at_all_shows_the_help_as_an_error(cli: Cli) -> None:
    status, _, err = cli()
    assert status == 2
    assert "Commands:" in err


@pytest.mark.parametrize("arguments", [["ps"], ["status"], ["logs"], ["down"], ["start", "web"], ["reload"]])
def test_without_a_supervisor_the_exit_status_is_7_and_the_message_says_how_to_start_one(
    cli: Cli, project: Path, arguments: Sequence[str]
) -> None:
    status, out, err = cli(*arguments)
    assert (status, out) == (7, "")
    assert err == f"nsinit: no supervisor runs for {project}/services: start one with `nsinit up`\n"


@pytest.mark.parametrize("arguments", [["status"], ["logs"], ["start"], ["stop"], ["restart"]])
def test_an_unknown_service_is_exit_4_with_the_nearest_name(
    cli: Cli, running: Running, arguments: Sequence[str]
) -> None:
    status, out, err = cli(*arguments, "wbe")
    assert (status, out, err) == (4, "", "nsinit: no service wbe: did you mean web?\n")


def test_exec_in_an_unknown_service_is_exit_4(cli: Cli, running: Running) -> None:
    assert cli("exec", "wbe", "true").status == 4


def test_a_supervisor_that_refuses_the_caller_is_exit_5(
    cli: Cli, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.fake.failure = client.Denied("only the supervisor's owner and root may control it")
    status, _, err = cli("start", "web")
    assert (status, err) == (5, "nsinit: only the supervisor's owner and root may control it\n")


def test_a_runtime_directory_of_someone_else_is_exit_5(
    cli: Cli, runtime_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime_directory.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: runtime_directory.stat().st_uid + 1)
    assert cli("ps").status == 5


@pytest.mark.parametrize("place", [["--name", "shop"], ["-C", "/somewhere", "--name", "shop"]])
def test_the_options_that_choose_the_supervisor_stand_before_or_after_the_verb(
    cli: Cli, running: Running, monkeypatch: pytest.MonkeyPatch, place: Sequence[str]
) -> None:
    monkeypatch.chdir("/")
    assert cli("ps").status == 7
    assert cli(*place, "ps").status == 0
    assert cli("ps", *place).status == 0
    assert cli("--name", "other", "ps", *place).status == 0


def test_a_directory_is_the_one_of_the_service_files_or_the_one_above(
    cli: Cli, running: Running, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    assert cli("-C", str(project), "ps").status == 0
    assert cli("-C", str(project / "services"), "ps").status == 0


@pytest.mark.parametrize(
    ("error", "verb", "status"),
    [
        (OperationFailed("no"), "ps", 1),
        (KernelError("mount", 1), "ps", 1),
        (KernelError("mount", 1), "exec", 125),
        (OperationFailed("no"), "exec", 1),
    ],
)
def test_only_exec_ends_with_125_when_nsinit_fails(
    cli: Cli, running: Running, monkeypatch: pytest.MonkeyPatch, error: Exception, verb: str, status: int
) -> None:
    monkeypatch.setattr(client.Client, "connect", _raising(error))
    outcome = cli(verb, *(["db", "true"] if verb == "exec" else []))
    assert (outcome.status, outcome.err) == (status, f"nsinit: {error}\n")


@pytest.mark.parametrize(("verb", "status"), [("ps", 1), ("exec", 125)])
def test_a_bug_is_one_line_and_a_traceback_only_on_demand(
    cli: Cli, running: Running, monkeypatch: pytest.MonkeyPatch, verb: str, status: int
) -> None:
    monkeypatch.setattr(client.Client, "connect", _raising(ZeroDivisionError("oops")))
    arguments = [verb, *(["db", "true"] if verb == "exec" else [])]
    outcome = cli(*arguments)
    assert outcome.status == status
    assert outcome.err == "nsinit: a bug in nsinit: ZeroDivisionError: oops: set NSINIT_DEBUG=1 to see where\n"
    monkeypatch.setenv("NSINIT_DEBUG", "1")
    assert "Traceback (most recent call last)" in cli(*arguments).err


def test_an_interrupt_ends_quietly(cli: Cli, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.Client, "connect", _raising(KeyboardInterrupt()))
    assert cli("ps") == (130, "", "")


def test_a_reader_that_goes_away_ends_the_command_quietly(running: Running) -> None:
    for number in range(5000):
        running.call(running.fake.write, "db", f"line {number}")
    script = "import sys\nfrom nsinit.cli import main\nsys.exit(main(['logs', '--name', 'shop']))"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "db     | line 0\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_help_and_completion_load_nothing_heavy() -> None:
    script = (
        "import sys\nfrom nsinit.cli import main\nmain(['--help'])\n"
        "print(sorted({'trio', 'msgspec', 'structlog', 'pyroute2', 'tomllib'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def _raising(error: BaseException) -> Callable[..., object]:
    def fail(*arguments: object, **named: object) -> object:
        raise error

    return fail
