"""The small init: what a command sees, which signals it gets, who is reaped, how it all ends."""

import os
import re
import signal
import subprocess
import sys

import pytest

from nsinit.sandbox.init import ADDRESSED, FROM_TERMINAL, Init, Policy, descendants, exit_status
from tests.support import processes
from tests.support.sandbox import KINDS, catching, command_of, init_of, read_error_line, read_line, running, status_of
from tests.support.waiting import poll_until, remaining, wait_gone

# In namespaces of its own, and without any.
MODES = [[], ["--no-unshare"]]
both_modes = pytest.mark.parametrize("mode", MODES, ids=["unshared", "here"])
# What no process can catch, and what the C library keeps for itself; SIGCHLD is the init's own.
NEVER_FORWARDED = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, 32, 33}
FORWARDED = sorted(set(range(1, 65)) - NEVER_FORWARDED)

DOUBLE_FORKS = """
import os, sys
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.wait()
os.write(1, b"ready\\n")
sys.stdin.read()
"""

# The main process and a child in its group, a grandchild in another: each writes the signals it gets.
FAMILY = """
import os, signal, sys
every = {signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, every)
name, pids = "main", []
for relative in ("member", "stranger"):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        name = relative
        if name == "stranger":
            os.setsid()
        os.write(write, b"x")
        break
    pids.append(pid)
    os.read(read, 1)
else:
    os.write(1, b"ready\\n")
while True:
    number = signal.sigwait(every)
    os.write(1, f"{name} {number}\\n".encode())
    if number == signal.SIGTERM:
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
        break
"""


def test_every_namespace_is_the_commands_own(nsinit):
    with running(nsinit, "--", "sh", "-c", "echo ready; exec cat", stdin=subprocess.PIPE) as process:
        command = command_of(process)
        for kind in KINDS:
            assert processes.namespace(command, kind) != processes.namespace(os.getpid(), kind), kind
            assert processes.namespace(command, kind) == processes.namespace(init_of(process), kind), kind
        process.stdin.close()
        assert status_of(process) == 0


def test_python_m_nsinit_does_the_same(nsinit):
    script = "readlink /proc/self/ns/pid; echo $$; exit 9"
    result = nsinit.command([nsinit.python, "-m", "nsinit", "--", "sh", "-c", script])
    namespace, pid = result.stdout.split()
    assert namespace != processes.namespace(os.getpid(), "pid")
    assert int(pid) == 2
    assert (result.status, result.stderr) == (9, "")


def test_the_init_is_pid_1_without_a_parent_and_the_command_its_child(nsinit):
    result = nsinit.run("--", "sh", "-c", "cat /proc/1/status; echo; cat /proc/self/status")
    init, command = result.stdout.split("\n\n")
    assert re.search(r"^PPid:\t0$", init, re.MULTILINE)
    assert re.search(r"^NSpid:\t1$", init, re.MULTILINE)
    assert re.search(r"^PPid:\t2$", command, re.MULTILINE)


def test_proc_is_fresh_and_shows_the_sandbox_only(nsinit):
    result = nsinit.run("--", "sh", "-c", "cd /proc; echo [0-9]*; cat /proc/mounts")
    pids, *mounts = result.stdout.splitlines()
    assert pids == "1 2"
    assert [line for line in mounts if line.split()[1] == "/proc"][-1].startswith("proc /proc proc rw,nosuid,nodev")


def test_loopback_is_up_and_carries_traffic(nsinit):
    script = """
import socket
server = socket.create_server(("127.0.0.1", 80))
client = socket.create_connection(("127.0.0.1", 80))
print(server.accept()[1][0], *(name for _, name in socket.if_nameindex()))
"""
    result = nsinit.run("--", nsinit.python, "-I", "-c", script)
    assert result.stdout.split()[:2] == ["127.0.0.1", "lo"], result


@both_modes
@pytest.mark.parametrize("status", [0, 1, 2, 77, 124, 125, 126, 127, 128, 143, 255])
def test_the_exit_status_is_the_commands(nsinit, mode, status):
    assert nsinit.run(*mode, "--", "sh", "-c", f"exit {status}") == (status, "", "")


@both_modes
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGRTMAX])
def test_the_exit_status_is_128_more_than_the_signal_that_killed_the_command(nsinit, mode, number):
    result = nsinit.run(*mode, "--", "sh", "-c", f"ulimit -c 0; kill -{int(number)} $$")
    assert result == (128 + number, "", "")


@both_modes
def test_without_a_command_the_users_shell_runs(nsinit, mode):
    shell = nsinit.write("shell", "#!/bin/sh\necho this is $0, $# arguments\n", 0o755)
    assert nsinit.run(*mode, "--", env={"SHELL": str(shell)}).stdout == f"this is {shell}, 0 arguments\n"


@both_modes
def test_without_a_command_and_without_shell_it_is_sh(nsinit, mode):
    result = nsinit.run(*mode, "--", env={"SHELL": ""}, input=b"echo from $0\n")
    assert result.stdout == "from /bin/sh\n"


@both_modes
def test_exit_statuses_are_mapped(nsinit, mode):
    assert nsinit.run(*mode, "--map-exit", "143=0", "--", "sh", "-c", "kill $$").status == 0
    assert nsinit.run(*mode, "-e", "3", "-e4", "--", "sh", "-c", "exit 4").status == 0
    assert nsinit.run(*mode, "--map-exit", "1=7,2=8", "--", "sh", "-c", "exit 2").status == 8
    assert nsinit.run(*mode, "--map-exit", "143=0", "--", "sh", "-c", "exit 5").status == 5


@both_modes
def test_every_signal_from_outside_is_forwarded_as_it_is(nsinit, mode):
    with running(nsinit, *mode, "--", *catching(nsinit, signal.SIGKILL)) as process:
        for number in FORWARDED:
            process.send_signal(number)
            assert read_line(process) == str(number)


@both_modes
def test_real_time_signals_queue_and_keep_their_number(nsinit, mode):
    with running(nsinit, *mode, "--", *catching(nsinit, signal.SIGTERM)) as process:
        command = processes.descendants(process.pid)
        for _ in range(5):
            process.send_signal(signal.SIGRTMIN + 3)
        assert [read_line(process) for _ in range(5)] == [str(signal.SIGRTMIN + 3)] * 5
        process.terminate()
        assert read_line(process) == str(int(signal.SIGTERM))
        assert status_of(process) == 0
        assert not remaining(command, 0)


@both_modes
def test_signals_are_rewritten_and_dropped_by_name(nsinit, mode):
    rules = ["--rewrite", "TERM=QUIT,WINCH=", "--rewrite=SIGHUP=SIGRTMIN+1"]
    with running(nsinit, *mode, *rules, "--", *catching(nsinit, signal.SIGUSR1)) as process:
        for number in (signal.SIGWINCH, signal.SIGTERM):
            process.send_signal(number)
        assert read_line(process) == str(int(signal.SIGQUIT))
        for number in (signal.SIGWINCH, signal.SIGHUP):
            process.send_signal(number)
        assert read_line(process) == str(signal.SIGRTMIN + 1)
        process.send_signal(signal.SIGUSR1)
        assert read_line(process) == str(int(signal.SIGUSR1))
        assert status_of(process) == 0


def heard(runner, *options):
    """Who of a family hears a SIGUSR1 that is sent to nsinit."""
    with running(runner, *options, "--", runner.python, "-I", "-S", "-c", FAMILY) as process:
        process.send_signal(signal.SIGUSR1)
        names = [read_line(process)]
        process.terminate()
        output = process.communicate(timeout=20)[0].decode().splitlines()
        lines = [*names, *output]
        return sorted(line.split()[0] for line in lines if line.endswith(f" {int(signal.SIGUSR1)}"))


@both_modes
def test_the_main_process_alone_gets_signals(nsinit, mode):
    assert heard(nsinit, *mode) == ["main"]


@both_modes
@pytest.mark.parametrize("option", ["-g", "--group", "--forward=group"])
def test_the_process_group_gets_signals_if_asked(nsinit, mode, option):
    # TERM goes to the group too: who has not come to USR1 by then takes it first, as the lower number.
    assert heard(nsinit, *mode, option) == ["main", "member"]


def test_the_whole_sandbox_gets_signals_if_asked(nsinit):
    assert heard(nsinit, "--forward", "all") == ["main", "member", "stranger"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", [[], ["--no-unshare", "-s"]], ids=["pid 1", "subreaper"])
def test_thousands_of_orphans_are_reaped(nsinit, mode):
    argv = [*mode, "--", nsinit.python, "-I", "-S", "-c", DOUBLE_FORKS, "2000"]
    with running(nsinit, *argv, stdin=subprocess.PIPE) as process:
        init = process.pid if mode else init_of(process)
        poll_until(lambda: len(processes.children(init)) == 1, "the orphans to be reaped")
        process.stdin.close()
        assert status_of(process) == 0


def test_without_being_pid_1_orphans_are_left_to_others(nsinit):
    argv = ["--no-unshare", "--", "sh", "-c", "sleep 1000 & echo $!; exit 3"]
    with nsinit.spawn(*argv, stderr=subprocess.DEVNULL) as process:
        orphan = int(read_line(process))
        assert status_of(process) == 3
        assert processes.state(orphan) in ("S", "R", "D")
        os.kill(orphan, signal.SIGKILL)
        wait_gone(orphan)


ENDINGS = pytest.mark.parametrize("mode", [[], ["--no-unshare", "-s"]], ids=["pid 1", "subreaper"])


@ENDINGS
def test_what_the_command_leaves_behind_is_asked_to_end_and_waited_for(nsinit, mode):
    script = """
    exec 4>&1 3< <(trap 'echo ending >&4; exit' TERM; echo up; while :; do sleep 1000 & wait; done)
    read -r line <&3
    exit 5"""
    result = nsinit.run(*mode, "--grace", "100s", "--", "bash", "-c", script)
    assert result == (5, "ending\n", "")


STUBBORN = "trap '' TERM; sleep 1000 & echo $!; exit 6"


@ENDINGS
def test_what_ignores_the_request_is_killed_after_the_grace_period(nsinit, mode):
    result = nsinit.run(*mode, "--grace", "50ms", "--", "sh", "-c", STUBBORN)
    assert result.status == 6
    assert result.stderr == ""


@ENDINGS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_request_hastens_the_end(nsinit, mode, number):
    with nsinit.spawn(*mode, "-v", "--grace", "1h", "--", "sh", "-c", STUBBORN) as process:
        while read_error_line(process) != "nsinit: asks the rest to end with signal SIGTERM":
            pass
        process.send_signal(number)
        assert status_of(process) == 6


def test_a_grace_period_that_nobody_needs_is_not_waited_for(nsinit):
    assert nsinit.run("--grace", "1h", "--", "true", timeout=20).status == 0


@pytest.mark.parametrize("mode", [["-p", "USR1"], ["--no-unshare", "--parent-death-signal=USR1"]])
def test_the_death_of_the_parent_arrives_as_the_chosen_signal(nsinit, mode):
    command = [nsinit.nsinit, *mode, "--", *catching(nsinit, signal.SIGUSR1)]
    starter = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    argv = [nsinit.python, "-I", "-c", starter, *command]
    with nsinit.popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert read_line(process) == "ready"
        process.kill()
        assert read_line(process) == str(int(signal.SIGUSR1))


LEAVES_NOTHING = [
    [],
    ["run", "--share", "pid"],
    ["run", "--no-init"],
    ["run", "--no-init", "--share", "pid"],
    ["run", "--no-init", "--user", "0"],
]


@pytest.mark.parametrize("options", LEAVES_NOTHING, ids=" ".join)
def test_sigkill_of_the_launcher_takes_everything_down(nsinit, options):
    with running(nsinit, *options, "--", "sh", "-c", "trap '' HUP TERM; echo ready; exec sleep 1000") as process:
        everyone = processes.descendants(process.pid)
        assert everyone
        process.kill()
        wait_gone(everyone)


def test_sigkill_of_the_launcher_takes_down_who_has_changed_its_identity(nsinit_as_root):
    options = ["run", "--no-init", "--user", "1234"]
    with running(nsinit_as_root, *options, "--", "sh", "-c", "echo ready; exec sleep 1000") as process:
        everyone = processes.descendants(process.pid)
        process.kill()
        wait_gone(everyone)


# A trap of bash's would not do: between its last look and its read(2), bash forgets a signal until the next line.
TAKES_TERM = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("ready", flush=True)
signal.sigwait({signal.SIGTERM})
os._exit(43)
"""


@pytest.mark.slow
@both_modes
def test_a_signal_right_after_the_start_is_never_lost(nsinit, mode):
    command = ["--", nsinit.python, "-I", "-S", "-c", TAKES_TERM]
    statuses = set()
    for delay_ms in range(60):
        with nsinit.spawn(*mode, *command) as process:
            try:
                process.wait(delay_ms / 1000)
            except subprocess.TimeoutExpired:
                process.terminate()
            statuses.add(status_of(process))
    # Killed by its default action, or as the command says once it has said that it can.
    assert statuses <= {143, 43}
    with running(nsinit, *mode, *command) as process:
        process.terminate()
        assert status_of(process) == 43


def interrupt(process):
    """Send SIGINT; again if the interpreter, before it has run a line of ours, has swallowed the first one."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)


def test_ctrl_c_during_the_start_shows_no_traceback(nsinit):
    for delay_ms in range(8, 40, 2):
        with nsinit.spawn("--", "sleep", "1000") as process:
            try:
                process.wait(delay_ms / 1000)
            except subprocess.TimeoutExpired:
                interrupt(process)
            status, errors = status_of(process), process.stderr.read().decode()
            # Only the interpreter's own start, before the first line of ours, can't be kept from telling.
            assert "site-packages/nsinit" not in errors, errors
            assert errors or status == 130


STUB = """
def entry(blocked):
    with open("/proc/self/status") as file:
        print(sorted(map(int, blocked)), *(line for line in file if line.startswith("SigBlk")))
"""


def test_all_signals_are_blocked_before_anything_is_imported(nsinit):
    nsinit.write("stub/nsinit/__main__.py", STUB)
    nsinit.write("stub/nsinit/__init__.py", "")
    result = nsinit.run("--", "true", env={"PYTHONPATH": str(nsinit.directory / "stub")})
    every = set(range(1, 65)) - {32, 33, signal.SIGKILL, signal.SIGSTOP}
    assert result.stdout.split() == ["[]", "SigBlk:", mask(every)]


STATUS = "cat", "/proc/self/status"
# Sets dispositions and mask, and starts a command as a child that inherits them exactly.
STARTER = """
import os, signal, sys
ignored, blocked = (set(map(int, filter(None, word.split(",")))) for word in sys.argv[1:3])
for number in {signal.SIGPIPE, signal.SIGXFSZ} - ignored:
    signal.signal(number, signal.SIG_DFL)
for number in ignored:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
# Not by subprocess: posix_spawn(3) leaves the two signals of the C library ignored.
if (pid := os.fork()) == 0:
    os.execv(sys.argv[3], sys.argv[3:])
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def mask(numbers):
    return f"{sum(1 << (number - 1) for number in numbers):016x}"


@both_modes
@pytest.mark.parametrize(
    ("ignored", "blocked"),
    [
        (set(), set()),
        ({signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE}, {signal.SIGUSR2, signal.SIGTERM}),
        ({signal.SIGXFSZ, signal.SIGINT, signal.SIGTSTP, signal.SIGRTMIN + 2}, {signal.SIGRTMAX, signal.SIGCHLD}),
    ],
)
def test_ignored_and_blocked_signals_are_those_nsinit_was_started_with(nsinit, mode, ignored, blocked):
    words = [",".join(str(int(number)) for number in numbers) for numbers in (ignored, blocked)]
    starter = [nsinit.python, "-I", "-c", STARTER, *words]
    result = nsinit.command([*starter, nsinit.nsinit, *mode, "--", *STATUS])
    found = dict(re.findall(r"^(Sig\w+):\t(\w+)$", result.stdout, re.MULTILINE))
    assert found["SigIgn"] == mask(ignored), result
    assert found["SigBlk"] == mask(blocked)
    assert found["SigCgt"] == mask(set())


@both_modes
def test_what_a_shell_ignores_stays_ignored(nsinit, mode):
    script = f"trap '' HUP USR1 PIPE; {nsinit.nsinit} {' '.join(mode)} -- cat /proc/self/status; true"
    result = nsinit.command(["bash", "-c", script])
    assert f"SigIgn:\t{mask({signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE})}\n" in result.stdout


@both_modes
def test_a_command_that_leaves_a_pipe_dies_of_sigpipe(nsinit, mode):
    script = f"{{ {nsinit.nsinit} {' '.join(mode)} -- seq 1000000; echo $? >&2; }} | true"
    assert nsinit.command(["bash", "-c", script]).stderr == "141\n"


def test_the_init_holds_nothing_of_the_users_open(nsinit_as_root):
    with running(nsinit_as_root, "--", "sh", "-c", "echo ready; exec cat", stdin=subprocess.PIPE) as process:
        init = init_of(process)
        poll_until(lambda: processes.state(init) == "S" and processes.state(command_of(process)) == "S", "rest")
        held = sorted(os.readlink(f"/proc/{init}/fd/{fd}") for fd in os.listdir(f"/proc/{init}/fd"))
        assert held[:3] == ["/dev/null"] * 3
        assert [name.split(":")[0] for name in held[3:]] == ["socket"]


def test_nothing_runs_while_nothing_happens(nsinit):
    with running(nsinit, "--", "sh", "-c", "echo ready; exec sleep 1000") as process:
        ours = [process.pid, init_of(process)]
        poll_until(lambda: [processes.state(pid) for pid in ours] == ["S", "S"], "both to sleep")

        def switches():
            fields = ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")
            return [int(processes.status_field(pid, field)[0]) for pid in ours for field in fields]

        before = switches()
        assert remaining([process.pid], 0.3)
        assert switches() == before


def test_the_inits_memory_is_closed_to_the_command(nsinit):
    result = nsinit.run("--", "sh", "-c", "cat /proc/1/environ >/dev/null && echo open")
    assert result.stdout == ""


def test_verbose_says_what_the_init_does(nsinit):
    script = "sh -c 'sleep 0 &'; trap '' TERM; sleep 1000 & exit 2"
    result = nsinit.run("-v", "--grace", "50ms", "--", "sh", "-c", script)
    assert result.status == 2
    lines = result.stderr.splitlines()
    assert re.fullmatch(r"nsinit: sh runs as process \d+, its init as \d+", lines[0])
    assert "nsinit: asks the rest to end with signal SIGTERM" in lines
    assert lines.index("nsinit: kills the rest with signal SIGKILL") > 1
    assert all(line.startswith("nsinit: ") for line in lines)


class Silent:
    """An observer that remembers notes."""

    def __init__(self):
        self.notes = []
        self.stops = []

    def stopped(self, number):
        self.stops.append(number)
        return True

    def resuming(self):
        self.notes.append("resuming")

    def ended(self, wait_status):
        self.notes.append(f"ended {wait_status}")

    def note(self, text, *numbers):
        self.notes.append(text)


def policy(**values):
    defaults = {"target": "main", "rewrite": {}, "map_exit": {}, "grace_s": 1.0, "subreaper": False}
    return Policy(init=True, session=False, verbose=False, **(defaults | values))


@pytest.fixture
def kills(monkeypatch):
    """What is sent to whom."""
    sent = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(("process", pid, number)))
    monkeypatch.setattr(os, "killpg", lambda pid, number: sent.append(("group", pid, number)))
    return sent


@pytest.mark.parametrize(
    ("target", "code", "addressed"),
    [
        ("main", 0, "process"),
        ("group", 0, "group"),
        ("main", FROM_TERMINAL, "group"),
        ("group", ADDRESSED["main"], "process"),
        ("main", ADDRESSED["group"], "group"),
        ("all", 0, "group"),
    ],
)
def test_whom_a_signal_is_for(kills, target, code, addressed):
    Init(4242, policy(target=target), Silent()).forward(signal.SIGINT, code)
    assert kills == [(addressed, 4242, signal.SIGINT)]


def test_descendants_are_listed_parents_first():
    script = "sleep 1000 & (sleep 1000 & wait) & echo ready; wait"
    with subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        poll_until(lambda: len(descendants(process.pid)) == 3, "all to be there")
        found = descendants(process.pid)
        parents = [int(processes.status_field(pid, "PPid")[0]) for pid in found]
        assert all(parent == process.pid or parent in found[:at] for at, parent in enumerate(parents))
        for pid in (*found, process.pid):
            os.kill(pid, signal.SIGKILL)


def test_statuses_are_a_shells():
    assert exit_status(3 << 8) == 3
    assert exit_status(signal.SIGTERM) == 143
    assert sys.maxsize > exit_status(0) == 0
