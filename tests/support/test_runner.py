import os
import sys

import pytest

from tests.support import accounts, processes


def test_every_account_can_import_nsinit_and_what_it_depends_on(nsinit):
    script = "import sys, nsinit, trio, msgspec, click; print(nsinit.__file__, sys.version_info[:2])"
    result = nsinit.command([nsinit.python, "-I", "-c", script])
    assert result.stderr == ""
    assert result.stdout.split(" ", 1)[1] == f"{sys.version_info[:2]}\n"
    assert result.status == 0


def test_a_command_runs_as_the_account_it_is_given(nsinit, account):
    result = nsinit.command(["/usr/bin/id", "-u"])
    assert result.stdout == f"{account.uid}\n"


def test_a_command_gets_its_input_and_its_environment(nsinit):
    result = nsinit.command(["/bin/sh", "-c", 'cat; echo "$GREETING"'], input=b"hello\n", env={"GREETING": "world"})
    assert result == (0, "hello\nworld\n", "")


def test_a_command_killed_by_a_signal_has_a_status_above_128(nsinit):
    assert nsinit.command(["/bin/sh", "-c", "kill -9 $$"]).status == 137


def test_a_command_that_does_not_end_is_killed_and_its_output_told(nsinit):
    with pytest.raises(TimeoutError, match="early words"):
        nsinit.command(["/bin/sh", "-c", "echo early words; exec sleep 1000"], timeout=0.5)


def test_the_ordinary_user_without_root_is_unknown_to_passwd(unprivileged):
    if os.geteuid() == 0:
        assert unprivileged.name is None
    assert unprivileged.uid != 0


def test_the_user_with_subordinate_ids_has_them(nsinit_as_subordinate, subordinate):
    assert accounts.has_subordinate_ids(subordinate)
    assert nsinit_as_subordinate.command(["/usr/bin/id", "-un"]).stdout == f"{subordinate.name}\n"


def test_files_of_the_account_are_its_own(nsinit, account):
    path = nsinit.write("services/deep/web.toml", "command = []")
    assert path.stat().st_uid == path.parent.stat().st_uid == account.uid
    assert nsinit.command(["/bin/sh", "-c", "echo x >> services/deep/web.toml"]).status == 0


def test_what_a_runner_starts_carries_the_mark_of_the_run(nsinit, session):
    with nsinit.popen(["/bin/sleep", "1000"]) as process:
        assert process.pid in processes.marked(session.token)
        assert process.pid in processes.descendants(os.getpid())
