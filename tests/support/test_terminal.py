import pytest

from tests.support.terminal import CTRL_C, CTRL_Z, PROMPT


def test_a_terminal_runs_bash_with_job_control(nsinit):
    with nsinit.terminal() as terminal:
        assert terminal.run("echo $((6 * 7))") == "42\n"
        # A shell that has vforked can't be stopped until its child has executed: exec.
        group = terminal.start("sh -c 'echo up; exec sleep 1000'")
        terminal.expect("up\r\n")
        terminal.send(CTRL_Z)
        terminal.expect("Stopped(?s:.*)" + PROMPT)
        assert terminal.foreground_group() == terminal.process.pid
        assert terminal.start("fg") == group
        terminal.send(CTRL_C)
        terminal.expect(PROMPT)
        assert terminal.run("echo $?") == "130\n"


def test_a_command_on_a_terminal_leads_its_session_and_has_the_foreground(nsinit):
    with nsinit.terminal(["/bin/sh", "-c", "tty; ps -o sid=,tpgid= -p $$"]) as terminal:
        device, ids = terminal.read_to_end().splitlines()
        assert device.startswith("/dev/pts/")
        assert [int(word) for word in ids.split()] == [terminal.process.pid] * 2
        assert terminal.wait() == 0


def test_the_size_of_a_terminal_can_be_changed(nsinit):
    with nsinit.terminal() as terminal:
        terminal.resize(33, 77)
        assert terminal.run("stty size") == "33 77\n"


def test_expecting_what_does_not_come_tells_what_came(nsinit):
    with nsinit.terminal() as terminal, pytest.raises(TimeoutError, match="apple"):
        terminal.send("echo apple\n")
        terminal.expect("pear", timeout_s=0.3)
