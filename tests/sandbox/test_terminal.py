"""Job control, as a person at bash's prompt on a real terminal sees it."""

import os
import re
import shlex
import signal
import subprocess
import sys

import pytest

from tests.support import processes
from tests.support.sandbox import init_of, running, status_of
from tests.support.terminal import CTRL_BACKSLASH, CTRL_C, CTRL_D, CTRL_Z, PROMPT
from tests.support.waiting import poll_until, wait_gone

MODES = [[], ["--no-unshare"]]
with_groups = pytest.mark.parametrize("shell", [*MODES, ["-g"], ["--no-unshare", "-g"]], ids=" ".join, indirect=True)

# Counts the signals it gets, tells so at once, and repeats lines if it is to read. A shell can't: when a signal comes
# right before it reads, it waits for the next line first.
COUNTS = """
import os, select, signal, sys
woken, wake = os.pipe()
os.set_blocking(wake, False)
for name in ("SIGINT", "SIGUSR1", "SIGWINCH"):
    signal.signal(getattr(signal, name), lambda *_: None)
signal.set_wakeup_fd(wake)
hits = 0
print("counter is up", flush=True)
while True:
    ready, _, _ = select.select([woken, *([0] if "reads" in sys.argv else [])], [], [])
    if woken in ready:
        for number in os.read(woken, 100):
            hits += 1
            size = os.get_terminal_size()
            print(f"hit {hits} by {number} at {size.lines} x {size.columns}", flush=True)
        if "once" in sys.argv:
            sys.exit(9)
    else:
        line = os.read(0, 100).decode().strip()
        print(f"{line}: {hits}", flush=True)
        if line == "end":
            sys.exit(7)
"""
# Reads the terminal, whatever its standard input is.
ASK = """
import sys
count = sum(1 for _ in sys.stdin)
with open("/dev/tty") as tty:
    print("up", flush=True)
    print(count, tty.readline().strip(), flush=True)
"""


class Shell:
    """bash with nsinit as its command."""

    def __init__(self, terminal, runner, options):
        self.terminal = terminal
        self._runner = runner
        self._options = options

    def nsinit(self, *argv):
        """The words of a command line that runs `argv` under nsinit."""
        return shlex.join([self._runner.nsinit, *self._options, "--", *argv])

    def script(self, text, shell="bash"):
        """The same for a shell script, which lies in a file: command lines are echoed."""
        return self.nsinit(shell, str(self._runner.write("script", text)))

    def counter(self, *options):
        """The same for the program that counts signals."""
        return self.nsinit(self._runner.python, "-I", "-S", str(self._runner.write("counts.py", COUNTS)), *options)

    def prompt(self):
        """Wait for bash, which has the terminal now."""
        self.terminal.expect(re.escape(PROMPT))
        assert self.terminal.foreground_group() == self.terminal.process.pid

    def status(self):
        """The exit status of the last command."""
        return int(self.terminal.run("echo $?"))

    def wait_stopped(self):
        """Wait until bash tells that its background job has stopped."""
        poll_until(lambda: "Stopped" in self.terminal.run("jobs"), "the job to stop")


@pytest.fixture(params=MODES, ids=" ".join)
def shell(request, nsinit):
    with nsinit.terminal() as terminal:
        yield Shell(terminal, nsinit, request.param)


@with_groups
def test_ctrl_c_arrives_exactly_once(shell):
    terminal = shell.terminal
    terminal.start(shell.counter("reads"))
    terminal.expect("counter is up\r\n")
    for count in (1, 2, 3):
        terminal.send(CTRL_C)
        terminal.expect(f"hit {count} by 2 ")
        terminal.send("now\n")
        terminal.expect(f"now: {count}\r\n")
    terminal.send("end\n")
    assert "hit" not in terminal.expect("(?s).*end: 3\r\n")[0]
    shell.prompt()
    assert shell.status() == 7


def test_ctrl_c_and_ctrl_backslash_end_a_command_that_does_not_mind(shell):
    for keys, status in ((CTRL_C, 130), (CTRL_BACKSLASH, 131)):
        shell.terminal.start("ulimit -c 0; " + shell.script("echo up; exec sleep 1000", "sh"))
        shell.terminal.expect("up\r\n")
        shell.terminal.send(keys)
        shell.prompt()
        assert shell.status() == status


def test_ctrl_z_stops_the_job_and_fg_resumes_all_of_it(shell):
    terminal = shell.terminal
    terminal.start(shell.script("echo up; cat; echo cat has ended"))
    terminal.expect("up\r\n")
    for _ in range(2):
        terminal.send(CTRL_Z)
        terminal.expect("Stopped")
        shell.prompt()
        terminal.start("fg")
        terminal.send("hello\n")
        terminal.expect("hello\r\nhello\r\n")
    terminal.send(CTRL_D)
    terminal.expect("cat has ended\r\n")
    shell.prompt()
    assert shell.status() == 0


def test_bg_lets_a_stopped_job_go_on_in_the_background(shell):
    terminal = shell.terminal
    terminal.start(shell.counter())
    terminal.expect("counter is up\r\n")
    terminal.send(CTRL_Z)
    terminal.expect("Stopped")
    shell.prompt()
    terminal.run("bg")
    terminal.send("kill -USR1 %1\n")
    terminal.expect("hit 1 by 10 ")
    assert terminal.foreground_group() == terminal.process.pid
    assert "Running" in terminal.run("jobs")
    terminal.send("kill %1; wait %1; echo status $?\n")
    terminal.expect("status 143\r\n")


def test_a_job_started_in_the_background_never_takes_the_terminal(shell):
    terminal = shell.terminal
    terminal.send(shell.script("echo job is up; exec sleep 1000") + " &\n")
    terminal.expect("job is up\r\n")
    assert terminal.foreground_group() == terminal.process.pid
    assert terminal.run("echo typed").endswith("typed\n")
    terminal.send("kill %1; wait %1; echo status $?\n")
    terminal.expect("status 143\r\n")
    assert terminal.foreground_group() == terminal.process.pid


@with_groups
def test_a_background_job_in_the_foreground_later_is_interrupted_once(shell):
    terminal = shell.terminal
    terminal.send(shell.counter() + " &\n")
    terminal.expect("counter is up\r\n")
    terminal.start("fg")
    terminal.send(CTRL_C)
    terminal.expect("hit 1 by 2 ")
    terminal.send(CTRL_Z)
    terminal.expect("Stopped")
    shell.prompt()
    terminal.start("kill -USR1 %1; fg")
    terminal.expect("hit 2 by 10 ")
    terminal.send(CTRL_BACKSLASH)
    shell.prompt()
    assert shell.status() == 131


def test_a_background_job_that_reads_is_stopped_and_fg_gives_it_the_terminal(shell):
    terminal = shell.terminal
    terminal.send(shell.script("read -r line; echo got $line; exit 8") + " &\n")
    terminal.expect(re.escape(PROMPT))
    shell.wait_stopped()
    assert "tty input" in terminal.run("jobs -l")
    terminal.start("fg")
    terminal.send("hello\n")
    terminal.expect("got hello\r\n")
    shell.prompt()
    assert shell.status() == 8


def test_a_background_job_that_writes_is_stopped_where_the_terminal_says_so(shell):
    terminal = shell.terminal
    terminal.run("stty tostop")
    terminal.send(shell.script("echo written; exit 8") + " &\n")
    terminal.expect(re.escape(PROMPT))
    shell.wait_stopped()
    terminal.send("fg\n")
    terminal.expect("written\r\n")
    shell.prompt()
    assert shell.status() == 8


def test_the_terminal_is_bashs_again_after_a_command_that_moved_it(shell):
    terminal = shell.terminal
    terminal.send(shell.script("set -m; sh -c 'echo inner; exit 4'; sh -c 'exit 5'") + "\n")
    terminal.expect("inner\r\n")
    shell.prompt()
    assert shell.status() == 5


def test_a_new_window_size_arrives(shell):
    terminal = shell.terminal
    terminal.start(shell.counter("reads"))
    terminal.expect("counter is up\r\n")
    terminal.resize(33, 77)
    terminal.expect("hit 1 by 28 at 33 x 77\r\n")
    terminal.send("end\n")
    terminal.expect("end: 1\r\n")
    shell.prompt()


def test_a_pipeline_into_a_program_that_reads_the_terminal(shell, nsinit):
    reader = shlex.join([nsinit.python, "-I", "-S", str(nsinit.write("ask.py", ASK))])
    shell.terminal.send(f"{shell.nsinit('seq', '100000')} | {reader}\n")
    shell.terminal.expect("up\r\n")
    shell.terminal.send("quit\n")
    shell.terminal.expect("\r\n100000 quit\r\n")
    shell.prompt()


def test_a_pipeline_from_a_program_into_one_that_reads_the_terminal_under_nsinit(shell, nsinit):
    reader = shell.nsinit(nsinit.python, "-I", "-S", str(nsinit.write("ask.py", ASK)))
    shell.terminal.send(f"seq 100000 | {reader}\n")
    shell.terminal.expect("up\r\n")
    shell.terminal.send("quit\n")
    shell.terminal.expect("\r\n100000 quit\r\n")
    shell.prompt()


def test_ctrl_c_ends_a_whole_pipeline(shell):
    shell.terminal.start(f"{shell.script('echo up >&2; exec sleep 1000')} | cat")
    shell.terminal.expect("up\r\n")
    shell.terminal.send(CTRL_C)
    shell.prompt()


def test_a_script_runs_nsinit_which_reads_the_terminal(shell, nsinit):
    script = nsinit.write("outer", f"#!/bin/sh\n{shell.script('read -r line; echo got $line')}\necho after $?\n", 0o755)
    shell.terminal.start(str(script))
    shell.terminal.send("hello\n")
    shell.terminal.expect("got hello\r\nafter 0\r\n")
    shell.prompt()


def test_ctrl_z_stops_a_whole_script_with_nsinit_in_it(shell, nsinit):
    inner = shell.script("read -r line; echo first $line; read -r line; echo second $line")
    script = nsinit.write("outer", f"#!/bin/sh\n{inner}\necho after $?\n", 0o755)
    shell.terminal.start(str(script))
    shell.terminal.send("one\n")
    shell.terminal.expect("first one\r\n")
    shell.terminal.send(CTRL_Z)
    shell.terminal.expect("Stopped")
    shell.prompt()
    shell.terminal.start("fg")
    shell.terminal.send("two\n")
    shell.terminal.expect("second two\r\nafter 0\r\n")
    shell.prompt()


def test_a_command_whose_streams_are_all_redirected_can_open_the_terminal(shell):
    inner = shell.script("read -r line </dev/tty; echo got $line >/dev/tty; exit 6")
    shell.terminal.start(f"{inner} </dev/null >/dev/null 2>&1")
    shell.terminal.send("hello\n")
    shell.terminal.expect("got hello\r\n")
    shell.prompt()
    assert shell.status() == 6


@pytest.fixture
def inner(shell):
    """An interactive bash inside."""
    shell.terminal.send(shell.nsinit("env", "PS1=inner> ", "bash", "--norc", "--noprofile", "--noediting", "-i") + "\n")
    shell.terminal.expect(r"\ninner> ")
    return shell


def test_an_inner_shell_has_job_control_of_its_own(inner):
    terminal = inner.terminal
    own_group = terminal.foreground_group()
    assert own_group != terminal.process.pid
    terminal.send("echo $((6 * 7)); cat\n")
    terminal.expect("\n42\r\n")
    poll_until(lambda: terminal.foreground_group() != own_group, "cat in the foreground")
    terminal.send("cat is up\n")
    terminal.expect("cat is up\r\ncat is up\r\n")
    terminal.send(CTRL_Z)
    terminal.expect("Stopped(?s:.*)inner> ")
    assert terminal.foreground_group() == own_group
    terminal.send("jobs\n")
    terminal.expect("Stopped +cat(?s:.*)inner> ")
    terminal.send("fg\n")
    poll_until(lambda: terminal.foreground_group() != own_group, "cat in the foreground again")
    terminal.send(CTRL_C)
    terminal.expect("inner> ")
    terminal.send("echo $?; exit 3\n")
    terminal.expect("\n130\r\n")
    inner.prompt()
    assert inner.status() == 3


def test_an_inner_shell_can_suspend_itself(inner):
    terminal = inner.terminal
    terminal.send("suspend\n")
    terminal.expect("Stopped")
    inner.prompt()
    terminal.start("fg")
    terminal.send("echo $((6 * 7)); exit 4\n")
    terminal.expect("42\r\n")
    inner.prompt()
    assert inner.status() == 4


def test_ctrl_c_at_an_inner_prompt_leaves_both_shells_alone(inner):
    terminal = inner.terminal
    terminal.send(CTRL_C)
    terminal.expect("inner> ")
    terminal.send("exit 5\n")
    inner.prompt()
    assert inner.status() == 5


@pytest.mark.parametrize("mode", [[], ["--no-unshare"]], ids=["unshared", "here"])
def test_a_hangup_ends_everything(nsinit, mode):
    with nsinit.terminal([nsinit.nsinit, *mode, "--", "sh", "-c", "echo up; exec sleep 1000"]) as terminal:
        terminal.expect("up\r\n")
        everyone = [terminal.process.pid, *processes.descendants(terminal.process.pid)]
    wait_gone(everyone)


@pytest.mark.parametrize("mode", [[], ["--no-unshare"]], ids=["unshared", "here"])
def test_without_a_terminal_a_stop_signal_stops_and_continues_all(nsinit, mode):
    # The parent makes the difference: in a process group of its own, nsinit can be continued, and so can be stopped.
    argv = [*mode, "--", "sh", "-c", "echo ready; exec sleep 1000"]
    with running(nsinit, *argv, process_group=0) as process:
        command = processes.children(process.pid if mode else init_of(process))[0]
        for _ in range(3):
            process.send_signal(signal.SIGTSTP)
            for pid in (command, process.pid):
                poll_until(lambda pid=pid: processes.state(pid) == "T", f"{pid} to stop")
            process.send_signal(signal.SIGCONT)
            for pid in (command, process.pid):
                poll_until(lambda pid=pid: processes.state(pid) == "S", f"{pid} to go on")
        process.terminate()
        assert status_of(process) == 143


@pytest.mark.parametrize("mode", [[], ["--no-unshare"]], ids=["unshared", "here"])
def test_a_command_that_somebody_stops_for_good_is_theirs_to_continue(nsinit, mode):
    argv = [*mode, "--", "sh", "-c", "echo ready; exec sleep 1000"]
    with running(nsinit, *argv) as process:
        command = processes.children(process.pid if mode else init_of(process))[0]
        os.kill(command, signal.SIGSTOP)
        poll_until(lambda: processes.state(command) == "T", "the command to stop")
        process.send_signal(signal.SIGCONT)
        poll_until(lambda: processes.state(command) == "S", "the command to go on")
        assert processes.state(process.pid) == "S"
        process.terminate()
        assert status_of(process) == 143


def test_without_any_terminal_nothing_is_asked_of_it():
    script = """
from nsinit.sandbox.terminal import Terminal
terminal = Terminal()
terminal.hand_over()
terminal.take_back()
print(terminal.may_lead(), terminal.given, terminal.group)
"""
    argv = ["setsid", "--wait", sys.executable, "-c", script]
    output = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True, text=True).stdout
    assert output == "False False 0\n"
