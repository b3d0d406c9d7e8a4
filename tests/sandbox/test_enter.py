"""Entering a running sandbox, as root and as an ordinary user, into real namespaces."""

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from nsinit.errors import KernelError
from nsinit.sandbox.enter import enter_and_run
from tests.support import processes
from tests.support.accounts import Account
from tests.support.runner import Process, Result, Runner
from tests.support.waiting import poll_until, wait_gone, wait_readable

KINDS = ("user", "mnt", "pid", "net", "uts", "ipc", "cgroup", "time")

ENTER = """
import json, os, sys
from nsinit.errors import NsinitError
from nsinit.sandbox.enter import enter_and_run
options = json.loads(sys.argv[2])
options["env"] = {os.fsencode(key): os.fsencode(value) for key, value in options.get("env", {}).items()}
try:
    status = enter_and_run(int(sys.argv[1]), [os.fsencode(word) for word in sys.argv[3:]], **options)
except NsinitError as error:
    print(error, file=sys.stderr)
    status = error.exit_code
sys.exit(status)
"""

# A root of its own for a sandbox: the machine's programs, and files under /etc that only it has.
ROOT = """
set -e
mount -t tmpfs tmpfs "$TMPDIR"
cd "$TMPDIR"
mkdir usr proc etc old tmp dev inside
for link in bin lib lib64 sbin; do ln -s usr/$link $link; done
mount --rbind /usr usr
mount -t proc proc proc
touch dev/null && mount --bind /dev/null dev/null
echo 'root:x:0:0::/root:/bin/sh' > etc/passwd
echo 'web:x:33:33::/inside:/bin/sh' >> etc/passwd
echo 'media:x:44:web' > etc/group
printf 'echo no interpreter line: $1\\n' > tmp/script && chmod 755 tmp/script
echo text > tmp/data
pivot_root . old
cd /
umount -l old
"""
READY = "exec cat"


class Sandbox:
    """A running sandbox: `pid` is its command's (cat), `process` what to end it with."""

    def __init__(self, runner: Runner, process: Process) -> None:
        self.runner = runner
        self.process = process
        self._script = runner.write("enter.py", ENTER)
        assert process.stdin and process.stdout
        process.stdin.write(b"ready\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"ready\n"  # from cat, which therefore has been executed
        tree = [process.pid, *processes.descendants(process.pid)]
        (self.pid,) = (pid for pid in tree if processes.command(pid) == "cat")

    def argv(self, *command: str, **options: Any) -> list[str]:
        """The command line that enters it."""
        return [self.runner.python, "-I", str(self._script), str(self.pid), json.dumps(options), *command]

    def enter(self, *command: str, input: bytes = b"", **options: Any) -> Result:
        """Run a command in it to its end."""
        return self.runner.command(self.argv(*command, **options), input=input)

    def shell(self, script: str, **options: Any) -> Result:
        """Run a shell script in it to its end."""
        return self.enter("sh", "-c", script, **options)

    @contextmanager
    def running(self, script: str, **options: Any) -> Iterator[Process]:
        """Run a shell script in it, which says "ready" first."""
        argv = self.argv("sh", "-c", script, **options)
        with self.runner.popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            yield process


@contextmanager
def sandbox(runner: Runner, *argv: str) -> Iterator[Sandbox]:
    """A sandbox started with `argv`, which becomes cat."""
    with runner.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Sandbox(runner, process)


def unshare(*options: str, script: str = READY) -> list[str]:
    """The command that runs a script in new namespaces."""
    return ["unshare", *options, "--fork", "--kill-child", "sh", "-c", script]


ALL_BUT_USER = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--time", "--mount-proc")
ALL = ("--user", "--map-root-user", *ALL_BUT_USER)


@pytest.fixture
def nested(nsinit: Runner) -> Iterator[Sandbox]:
    """All eight namespaces, in a supervisor's user and pid namespace, with a root of its own."""
    service = shlex.join(unshare(*ALL, script=ROOT + READY))
    with sandbox(nsinit, *unshare("--user", "--map-root-user", "--pid", "--mount-proc", script=service)) as found:
        yield found


@pytest.fixture
def roots_own(nsinit_as_root: Runner) -> Iterator[Sandbox]:
    """Root's sandbox without a user namespace, with a root of its own."""
    with sandbox(nsinit_as_root, *unshare(*ALL_BUT_USER, script=ROOT + READY)) as found:
        yield found


def test_status_is_the_commands(nested: Sandbox) -> None:
    assert nested.shell("exit 7") == Result(7, "", "")


def test_status_is_143_when_the_command_dies_of_sigterm(nested: Sandbox) -> None:
    assert nested.shell("kill -TERM $$").status == 143


def test_command_is_in_all_namespaces_of_the_target(nested: Sandbox) -> None:
    links = " ".join(f"/proc/self/ns/{kind}" for kind in KINDS)
    inside = nested.shell(f"readlink {links}")
    assert inside.stdout.split() == [processes.namespace(nested.pid, kind) for kind in KINDS]
    assert not {processes.namespace(nested.pid, kind) for kind in KINDS} & {
        processes.namespace(os.getpid(), kind) for kind in KINDS
    }


def test_command_has_the_root_of_the_target_and_starts_there(nested: Sandbox) -> None:
    assert nested.shell("pwd; ls -d /inside /work 2>/dev/null").stdout == "/\n/inside\n"


def test_command_starts_in_the_directory_asked_for(nested: Sandbox) -> None:
    assert nested.shell("pwd", chdir="/usr/bin").stdout == "/usr/bin\n"


def test_directory_that_is_only_outside_is_refused(nested: Sandbox) -> None:
    result = nested.shell("pwd", chdir=str(nested.runner.directory))
    assert result.status == 125
    assert "cannot change directory" in result.stderr


def test_input_output_and_environment_pass(nested: Sandbox) -> None:
    result = nested.shell('cat; echo "$WORD" >&2; env | wc -l', input=b"in\n", env={"WORD": "päng"})
    assert result.stdout.startswith("in\n")
    assert result.stderr == "päng\n"
    # PWD and _ or the like are the shell's; nothing of the caller's is there.
    assert "LANG" not in nested.shell("env").stdout


def test_command_holds_no_descriptor_but_the_standard_ones(nested: Sandbox) -> None:
    inherited_fd = os.open("/", os.O_RDONLY)
    try:
        argv = nested.argv("sh", "-c", "ls /proc/$$/fd")
        with nested.runner.popen(argv, stdout=subprocess.PIPE, pass_fds=[inherited_fd]) as process:
            assert process.stdout
            assert process.stdout.read().split() == [b"0", b"1", b"2"]
    finally:
        os.close(inherited_fd)


def test_closed_standard_descriptors_become_dev_null(nested: Sandbox) -> None:
    argv = shlex.join(nested.argv("sh", "-c", "readlink /proc/$$/fd/0 /proc/$$/fd/2; ls /proc/$$/fd | wc -l"))
    result = nested.runner.command(["sh", "-c", f"{argv} <&- 2>&-"])
    assert result.stdout == "/dev/null\n/dev/null\n3\n"


def test_command_is_root_inside_by_default_and_has_no_groups_of_the_callers(nested: Sandbox) -> None:
    assert nested.shell("id -u; id -g").stdout == "0\n0\n"


def test_command_that_is_not_found_is_127(nested: Sandbox) -> None:
    result = nested.enter("no-such-command")
    assert result.status == 127
    assert result.stderr == "cannot execute no-such-command: ENOENT: it is not in PATH\n"


def test_command_that_is_not_executable_is_126(nested: Sandbox) -> None:
    result = nested.enter("/tmp/data")
    assert result.status == 126
    assert "cannot execute /tmp/data: EACCES" in result.stderr


def test_command_is_looked_up_in_the_given_path_inside(nested: Sandbox) -> None:
    assert nested.enter("script", "x", env={"PATH": "/nowhere:/tmp"}).stdout == "no interpreter line: x\n"


def test_no_signal_is_ignored_or_blocked(nested: Sandbox) -> None:
    result = nested.enter("grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status")
    assert [int(line.split()[1], 16) for line in result.stdout.splitlines()] == [0, 0]


def test_signals_that_the_caller_was_started_with_ignored_stay_so(nested: Sandbox) -> None:
    argv = nested.argv("grep", "SigIgn", "/proc/self/status")
    result = nested.runner.command(["env", "--ignore-signal=HUP,CHLD", *argv])
    assert result.status == 0
    mask = int(result.stdout.split()[1], 16)
    assert {number for number in range(1, 65) if mask >> (number - 1) & 1} == {signal.SIGHUP, signal.SIGCHLD}


def test_status_is_right_when_the_caller_ignores_sigchld(nested: Sandbox) -> None:
    argv = nested.argv("sh", "-c", "exit 9")
    assert nested.runner.command(["env", "--ignore-signal=CHLD", *argv]).status == 9


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH, signal.SIGRTMIN])
def test_signals_are_forwarded(nested: Sandbox, number: int) -> None:
    script = f"trap 'echo got; exit 3' {int(number)}; echo ready; while :; do read -r line <&3 || read -r l; done"
    reader = f"mkfifo /tmp/f; exec 3<>/tmp/f; {script}"
    with nested.running(f"rm -f /tmp/f; {reader}") as process:
        process.send_signal(number)
        assert process.stdout
        assert process.stdout.readline() == b"got\n"
        assert process.wait() == 3


def test_sigint_reaches_the_commands_whole_group(nested: Sandbox) -> None:
    argv = nested.argv("sh", "-c", "trap 'echo mine; exit 5' INT; sh -c 'echo ready; read -r line'; echo never")
    with nested.runner.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b"mine\n"
        assert process.wait() == 5


def test_command_ends_when_its_caller_is_killed(nested: Sandbox) -> None:
    with nested.running("echo ready; exec sleep 1000") as process:
        inside = processes.descendants(process.pid)
        assert len(inside) == 2
        process.kill()
        wait_gone(inside)


def test_command_ends_when_the_stage_is_killed(nested: Sandbox) -> None:
    with nested.running("echo ready; exec sleep 1000") as process:
        stage, command = processes.descendants(process.pid)
        os.kill(stage, signal.SIGKILL)
        wait_gone(command)
        assert process.wait() == 125
        processes.reap_orphans()  # the command, now ours: its PID 1 waits for that


def test_command_ends_with_the_sandbox(nested: Sandbox) -> None:
    with nested.running("echo ready; exec sleep 1000") as process:
        os.kill(nested.pid, signal.SIGKILL)
        assert process.wait() == 137


def test_stage_is_outside_the_pid_namespace_and_can_not_be_looked_into(nested: Sandbox) -> None:
    with nested.running("echo ready; exec sleep 1000") as process:
        stage, command = processes.descendants(process.pid)
        assert processes.namespace(command, "pid") == processes.namespace(nested.pid, "pid")
        assert len(processes.status_field(stage, "NSpid")) == 1
        assert os.stat(f"/proc/{stage}/mem").st_uid == 0
        assert {os.readlink(f"/proc/{stage}/fd/{fd}") for fd in (0, 1, 2)} == {"/dev/null"}


def test_stopped_caller_does_not_keep_the_sandbox_from_ending(nested: Sandbox) -> None:
    with nested.running("echo ready; exec sleep 1000") as process:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        nested.process.kill()
        nested.process.wait()
        wait_gone(nested.pid)
        process.send_signal(signal.SIGCONT)
        assert process.wait() == 137


def test_caller_that_is_told_to_stop_stops_the_command_and_both_go_on(nested: Sandbox) -> None:
    argv = nested.argv("sh", "-c", "echo ready; read -r line; echo $line")
    # In a group of its own, as a shell's job is: the kernel ignores SIGTSTP where nobody could continue the group.
    with nested.runner.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == b"ready\n"
        _, command = processes.descendants(process.pid)
        process.send_signal(signal.SIGTSTP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        poll_until(lambda: processes.state(command) == "T", "the command to be stopped")
        process.send_signal(signal.SIGCONT)
        process.stdin.write(b"on\n")
        process.stdin.close()
        assert process.stdout.read() == b"on\n"
        assert process.wait() == 0


def test_caller_that_nobody_could_continue_goes_on_when_told_to_stop(nested: Sandbox) -> None:
    argv = nested.argv("sh", "-c", "echo ready; read -r line; echo $line")
    with nested.runner.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTSTP)
        process.stdin.write(b"on\n")
        process.stdin.close()
        assert process.stdout.read() == b"on\n"
        assert process.wait() == 0


def test_command_without_a_terminal_of_its_own_has_none_at_all(nested: Sandbox) -> None:
    # Standard input is the user's terminal, output is not: the terminal must not become the sandbox's.
    argv = shlex.join(nested.argv("sh", "-c", "readlink /proc/self/fd/0; cut -d' ' -f7 /proc/$$/stat"))
    with nested.runner.terminal() as terminal:
        lines = terminal.run(f"{argv} | cat").splitlines()
    assert lines[0].startswith("/dev/pts/")
    assert lines[1] == "0"


def test_plain_process_of_the_same_namespaces_can_be_entered(nsinit: Runner) -> None:
    with sandbox(nsinit, "sh", "-c", READY) as plain:
        result = plain.shell("id -u; readlink /proc/self/ns/net; exit 4")
        assert result == Result(4, f"{nsinit.account.uid}\n{processes.namespace(os.getpid(), 'net')}\n", "")


def test_user_is_the_sandboxs_own(roots_own: Sandbox) -> None:
    result = roots_own.shell("id -u; id -g; id -G; echo $HOME $USER", user="web")
    assert result.stdout == "33\n33\n33 44\n/inside web\n"


def test_user_by_number_needs_no_entry_and_has_no_groups(roots_own: Sandbox) -> None:
    assert roots_own.shell("id -u; id -G", user="1234:55").stdout == "1234\n55\n"


def test_user_that_the_sandbox_does_not_know_is_refused(nested: Sandbox) -> None:
    result = nested.shell("id", user="nobody-there")
    assert result.status == 125
    assert "cannot find user nobody-there" in result.stderr


def test_user_that_is_not_mapped_is_refused_with_the_remedy(nested: Sandbox) -> None:
    result = nested.shell("id", user="web")
    assert result.status == 125
    assert "cannot change identity" in result.stderr
    assert "not mapped" in result.stderr


def test_a_fifo_in_place_of_etc_passwd_does_not_hang(roots_own: Sandbox) -> None:
    assert roots_own.shell("rm /etc/passwd; mkfifo /etc/passwd").status == 0
    assert roots_own.shell("id", user="web").status == 125


def test_command_has_no_more_capabilities_than_the_target(nsinit_as_root: Runner) -> None:
    limited = ["setpriv", "--bounding-set=-sys_admin,-sys_ptrace", "--no-new-privs", "sh", "-c", READY]
    for options in (ALL, ALL_BUT_USER):
        with sandbox(nsinit_as_root, *unshare(*options, script=shlex.join(limited))) as found:
            theirs = {field: processes.status_field(found.pid, field) for field in ("CapBnd", "NoNewPrivs")}
            lines = found.enter("grep", "-E", "CapBnd|CapEff|NoNewPrivs", "/proc/self/status").stdout.splitlines()
            ours = dict(re.split(r":\s*", line) for line in lines)
            assert ours["CapBnd"] == ours["CapEff"] == theirs["CapBnd"][0]
            assert ours["NoNewPrivs"] == theirs["NoNewPrivs"][0] == "1"


def test_groups_of_a_privileged_caller_are_dropped(roots_own: Sandbox) -> None:
    argv = roots_own.argv("id", "-G", user="web")
    with roots_own.runner.popen(argv, stdout=subprocess.PIPE, extra_groups=[6, 7]) as process:
        assert process.stdout
        assert process.stdout.read() == b"33 44\n"


def test_sandbox_of_somebody_else_is_refused(
    nsinit_as_root: Runner, runner_for: Callable[[Account], Runner], unprivileged: Account
) -> None:
    with sandbox(nsinit_as_root, *unshare(*ALL)) as found:
        found.runner = runner_for(unprivileged)
        result = found.shell("id")
    assert result.status == 125
    assert re.search(r"cannot .*: (EACCES|EPERM).*owner", result.stderr)


def test_process_that_has_ended_is_refused() -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(KernelError, match="ESRCH"):
        enter_and_run(pid, [b"true"], env={})


@pytest.mark.parametrize(
    ("argv", "options"),
    [
        (["true"], {"user": "web"}),
        (["no-such-command"], {}),
        (["/tmp/data"], {}),
        (["true"], {"user": "unknown"}),
        (["true"], {"chdir": "/unknown"}),
    ],
)
def test_nothing_is_imported_once_the_sandbox_is_entered(
    roots_own: Sandbox, argv: list[str], options: dict[str, Any]
) -> None:
    hook = """
import os, sys
caller = os.getpid()
def hook(event, arguments):
    if event == "import" and os.getpid() != caller:
        os.write(2, b"imported %s\\n" % os.fsencode(arguments[0]))
sys.addaudithook(hook)
"""
    roots_own.runner.write("enter.py", hook + ENTER)
    assert "imported" not in roots_own.enter(*argv, **options).stderr
    roots_own.runner.write("enter.py", hook + "if not os.fork():\n    import this\n")
    assert "imported this" in roots_own.enter("true").stderr


def test_caller_is_afterwards_as_before(nsinit: Runner) -> None:
    script = """
import os, signal, sys
from nsinit.sandbox.enter import enter_and_run
def look():
    status = open("/proc/self/status").read()
    return sorted(os.listdir("/proc/self/fd")), [line for line in status.splitlines() if line.startswith("Sig")]
before = look()
assert enter_and_run(int(sys.argv[1]), [b"true"], env={}) == 0
assert look() == before, (look(), before)
"""
    with sandbox(nsinit, *unshare(*ALL)) as found:
        assert nsinit.command([nsinit.python, "-I", "-c", script, str(found.pid)]) == Result(0, "", "")


def test_early_sigterm_ends_it_however_far_it_has_come(nested: Sandbox) -> None:
    for _ in range(5):
        argv = nested.argv("sleep", "1000")
        with nested.runner.popen(argv, stdout=subprocess.PIPE) as process:
            process.send_signal(signal.SIGTERM)
            assert process.wait() in (-signal.SIGTERM, 143)
            assert process.stdout
            assert wait_readable(process.stdout.fileno())
