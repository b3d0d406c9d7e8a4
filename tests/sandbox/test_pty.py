"""The terminal of an entered command: what a person at the outer terminal sees."""

import json
import os
import re
import select
import shlex
import signal
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from nsinit.sandbox.pty import Relay, Terminal
from tests.support import processes
from tests.support.runner import Runner
from tests.support.terminal import CTRL_BACKSLASH, CTRL_C, CTRL_D, CTRL_Z
from tests.support.terminal import Terminal as Person
from tests.support.waiting import poll_until, wait_gone

ENTER = """#!{python} -I
import json, os, sys
from nsinit.sandbox.enter import enter_and_run
pid, options, *argv = sys.argv[1:]
sys.exit(enter_and_run(int(pid), [os.fsencode(word) for word in argv], env={{b"TERM": b"dumb"}}, **json.loads(options)))
"""
NAMESPACES = ("--user", "--map-root-user", "--mount", "--pid", "--uts", "--mount-proc", "--fork", "--kill-child")


class Door:
    """A way into a sandbox: the command line in front of a command."""

    def __init__(self, runner: Runner, target: int) -> None:
        self.runner = runner
        self.target = target
        self._script = str(runner.write("enter", ENTER.format(python=runner.python), 0o755))

    def argv(self, *command: str, **options: bool) -> list[str]:
        """The words."""
        return [self._script, str(self.target), json.dumps(options), *command]

    def line(self, *command: str, **options: bool) -> str:
        """The same for a shell."""
        return shlex.join(self.argv(*command, **options))

    @contextmanager
    def person(self, script: str) -> Iterator[Person]:
        """Somebody at a terminal who runs a shell script inside."""
        with self.runner.terminal(self.argv("sh", "-c", script)) as person:
            yield person


@pytest.fixture
def door(nsinit: Runner) -> Iterator[Door]:
    with nsinit.popen(["unshare", *NAMESPACES, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"x")
        process.stdin.flush()
        process.stdout.read(1)
        (target,) = processes.descendants(process.pid)
        yield Door(nsinit, target)


def test_command_has_a_controlling_terminal_that_is_not_the_users(door: Door) -> None:
    with door.person("tty -s && tty <&0; stty -a </dev/tty | head -1; cut -d' ' -f7 /proc/$$/stat") as person:
        output = person.read_to_end()
        users = os.fstat(person._master_fd).st_rdev
        assert person.wait() == 0, output
    assert "speed" in output
    number = int(output.split()[-1])
    assert number not in (0, users)


def test_status_and_output_pass(door: Door) -> None:
    with door.person("echo out; echo err >&2; exit 9") as person:
        assert person.read_to_end() == "out\r\nerr\r\n"
        assert person.wait() == 9


def test_every_byte_of_long_output_arrives_though_the_command_ends_at_once(door: Door) -> None:
    with door.person("exec seq 100000") as person:
        assert person.read_to_end() == "".join(f"{number}\r\n" for number in range(1, 100001))
        assert person.wait() == 0


def test_output_of_a_background_process_ends_with_the_command(door: Door) -> None:
    with door.person("sleep 1000 & echo end") as person:
        assert person.read_to_end() == "end\r\n"
        assert person.wait() == 0


def test_window_size_is_the_users_and_follows_it(door: Door) -> None:
    with door.person("trap 'stty size; exit 0' WINCH; stty size; while :; do read -r line; done") as person:
        person.expect("24 200")
        person.resize(50, 132)
        person.expect("50 132")
        assert person.wait() == 0


def test_keys_arrive_and_are_echoed_once(door: Door) -> None:
    with door.person('echo go; read -r line; echo "<$line>"') as person:
        person.expect("go\r\n")
        person.send("hällo\n")
        assert person.read_to_end() == "hällo\r\n<hällo>\r\n"


def test_ctrl_d_ends_the_input(door: Door) -> None:
    with door.person("echo go; cat; echo done") as person:
        person.expect("go")
        person.send("line\n")
        person.expect("line\r\nline\r\n")
        person.send(CTRL_D)
        person.expect("done")
        assert person.wait() == 0


@pytest.mark.parametrize(("key", "name"), [(CTRL_C, "INT"), (CTRL_BACKSLASH, "QUIT")])
def test_ctrl_c_and_ctrl_backslash_reach_the_command_once(door: Door, key: bytes, name: str) -> None:
    with door.person(f"trap 'echo {name}' {name}; echo go; cat; echo end; sed -n 2p") as person:
        person.expect("go")
        await_cat(person)
        person.send(key)
        person.expect("end")
        person.send("first\nlast\n")
        person.send(CTRL_D)
        output = person.read_to_end()
        assert output.count(name) <= 1
        assert "last" in output
        assert person.wait() == 0


def test_ctrl_c_gives_130_to_the_users_shell(door: Door) -> None:
    with door.runner.terminal() as person:
        line = door.line("sh", "-c", "echo $((1+1))go; exec cat")
        person.send(f"{line}; echo status $?\n")
        person.expect("2go")
        person.send(CTRL_C)
        person.expect("status 130")


def test_ctrl_z_is_for_the_shell_inside(door: Door) -> None:
    with door.runner.terminal(door.argv("bash", "--norc", "--noediting", "-i")) as person:
        person.send("PS1='inside> '\n")
        person.expect("inside> $")
        person.send("echo $((1+1))go; cat\n")
        person.expect("2go")
        await_cat(person)
        person.send(CTRL_Z)
        person.expect("Stopped")
        person.send("fg\n")
        person.expect("cat\r\n")
        person.send(CTRL_D)
        person.expect("inside> $")
        person.send("exit 6\n")
        assert person.wait() == 6


def await_cat(person: Person) -> None:
    """Return when cat runs: before it was executed, a shell's child would lose what the keyboard sends."""
    person.send("line\n")
    person.expect("line\r\nline\r\n")


def attributes(person: Person) -> list[Any]:
    return termios.tcgetattr(person._master_fd)


def test_terminal_is_raw_meanwhile_and_restored_at_the_end(door: Door) -> None:
    with door.runner.terminal() as person:
        before = person.run("stty -a")
        person.start(door.line("sh", "-c", "echo go$((1)); read -r line; exit 3"))
        person.expect("go1")
        raw = attributes(person)[3]
        assert not raw & (termios.ICANON | termios.ECHO | termios.ISIG)
        person.send("\n")
        person.expect("ready> ")
        assert person.run("echo $?") == "3\n"
        assert person.run("stty -a") == before


@pytest.mark.parametrize("command", [("no-such-command",), ("sh", "-c", "kill -KILL $$")])
def test_terminal_is_restored_after_a_failure(door: Door, command: tuple[str, ...]) -> None:
    with door.runner.terminal() as person:
        before = person.run("stty -a")
        person.run(door.line(*command))
        assert person.run("stty -a") == before


def test_terminal_is_restored_when_the_caller_is_told_to_end(door: Door) -> None:
    with door.runner.terminal() as person:
        before = person.run("stty -a")
        group = person.start(door.line("sh", "-c", "echo go$((1)); exec cat"))
        person.expect("go1")
        os.kill(group, signal.SIGTERM)
        person.expect("ready> ")
        assert person.run("echo $?") == "143\n"
        assert person.run("stty -a") == before


def test_terminal_is_given_back_while_the_caller_is_stopped(door: Door) -> None:
    with door.runner.terminal() as person:
        before = person.run("stty -a")
        group = person.start(door.line("sh", "-c", "echo go$((1)); read -r line; echo got $line"))
        person.expect("go1")
        os.kill(group, signal.SIGTSTP)
        person.expect("(?s)Stopped.*ready> ")
        assert person.run("stty -a") == before
        person.start("fg")
        poll_until(lambda: not attributes(person)[3] & termios.ICANON, "the terminal to be raw again")
        person.send("it\n")
        person.expect("got it")
        person.expect("ready> ")
        assert person.run("stty -a") == before


def test_started_in_the_background_it_does_not_touch_the_terminal(door: Door) -> None:
    with door.runner.terminal() as person:
        before = person.run("stty -a")
        person.run(door.line("sh", "-c", "echo in$((1))") + " &")
        poll_until(lambda: "Stopped" in person.run("jobs"), "the job to be stopped")
        assert person.run("stty -a") == before
        person.send("fg\n")
        person.expect("in1")


def test_hangup_of_the_users_terminal_ends_the_command(door: Door) -> None:
    with door.person("echo go; exec sleep 1000") as person:
        person.expect("go")
        _, command = processes.descendants(person.process.pid)
        assert processes.status_field(command, "NSpid")
    wait_gone(command)


def test_signals_are_forwarded_though_the_command_reads_nothing(door: Door) -> None:
    with door.person("stty raw -echo; echo go; exec sleep 1000") as person:
        person.expect("go")
        os.set_blocking(person._master_fd, False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(person._master_fd, b"x" * 4096)
        person.process.send_signal(signal.SIGTERM)
        assert person.wait() == 143


def test_standard_error_stays_where_it_was_sent(door: Door) -> None:
    with door.runner.terminal() as person:
        person.run(door.line("sh", "-c", "echo out; echo err >&2") + " 2>errors")
    assert (door.runner.directory / "errors").read_text() == "err\n"


def test_terminal_can_be_had_without_one_outside(door: Door) -> None:
    result = door.runner.command(door.argv("sh", "-c", "tty -s && stty -echo && cat", tty=True), input=b"one\ntwo")
    assert result.status == 0
    assert re.sub(r"^(one\r\ntwo)?", "", result.stdout, count=1).replace("\r\n", "\n").endswith("two")


def test_terminal_can_be_refused(door: Door) -> None:
    with door.runner.terminal(door.argv("sh", "-c", "tail -c +1 /proc/$$/stat | cut -d' ' -f7", tty=False)) as person:
        assert person.read_to_end() == "0\r\n"


@contextmanager
def pair() -> Iterator[tuple[int, int]]:
    master_fd, slave_fd = os.openpty()
    try:
        yield master_fd, slave_fd
    finally:
        os.close(master_fd)
        os.close(slave_fd)


def test_raw_attributes_are_cfmakeraws() -> None:
    with pair() as (_, slave_fd):
        found = termios.tcgetattr(slave_fd)
        terminal = Terminal(slave_fd)
        terminal.make_raw()
        iflag, oflag, cflag, lflag, _, _, cc = termios.tcgetattr(slave_fd)
        assert not iflag & (termios.ICRNL | termios.IXON | termios.BRKINT)
        assert not oflag & termios.OPOST
        assert cflag & termios.CSIZE == termios.CS8
        assert not lflag & (termios.ECHO | termios.ICANON | termios.ISIG | termios.IEXTEN)
        assert (cc[termios.VMIN], cc[termios.VTIME]) in ((1, 0), (b"\x01", b"\x00"))
        terminal.restore()
        assert termios.tcgetattr(slave_fd) == found


def test_relay_keeps_one_chunk_and_reads_no_more_until_it_was_taken() -> None:
    source_fd, keys_fd = os.pipe()
    sink_read_fd, sink_fd = os.pipe()
    relay = Relay(source_fd, sink_fd)
    try:
        termios.tcsetattr(relay.slave, termios.TCSANOW, raw_of(relay.slave))
        os.write(keys_fd, b"x" * 65536)
        relay.handle(source_fd)
        wanted = dict(relay.interest())
        assert source_fd not in wanted
        assert any(events & select.POLLOUT for events in wanted.values())
        assert not relay.hung_up
    finally:
        relay.close()
        for fd in (source_fd, keys_fd, sink_read_fd, sink_fd):
            os.close(fd)


def raw_of(fd: int) -> list[Any]:
    found = termios.tcgetattr(fd)
    found[3] &= ~(termios.ICANON | termios.ECHO)
    return found


def test_relay_says_when_nobody_reads_the_output_any_more() -> None:
    source_fd, keys_fd = os.pipe()
    sink_read_fd, sink_fd = os.pipe()
    os.close(sink_read_fd)
    relay = Relay(source_fd, sink_fd)
    try:
        os.write(relay.slave, b"text\n")
        relay.finish()
        assert relay.hung_up
    finally:
        relay.close()
        for fd in (source_fd, keys_fd, sink_fd):
            os.close(fd)
