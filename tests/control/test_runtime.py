import json
import os
import re
import socket
import stat
from pathlib import Path

import pytest

from nsinit import __version__
from nsinit.control import runtime
from nsinit.errors import Denied, NoSupervisor, OperationFailed, UsageError


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "run"
    monkeypatch.setenv("NSINIT_RUNTIME_DIR", str(root))
    return root


@pytest.fixture
def project(tmp_path: Path) -> Path:
    services = tmp_path / "shop" / "services"
    services.mkdir(parents=True)
    return services


def test_a_claim_makes_a_private_directory_with_a_listening_socket(root: Path, project: Path) -> None:
    claim = runtime.claim("shop", str(project))
    try:
        assert stat.S_IMODE(root.stat().st_mode) == 0o700
        assert stat.S_IMODE((root / "shop").stat().st_mode) == 0o700
        assert stat.S_IMODE((root / "shop" / "socket").stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(claim.socket_path)
        assert json.loads((root / "shop" / "info.json").read_text()) == {
            "name": "shop",
            "directory": str(project),
            "launcher_pid": os.getpid(),
            "version": __version__,
        }
    finally:
        claim.release()


def test_a_released_claim_leaves_nothing_and_can_be_made_again(root: Path, project: Path) -> None:
    runtime.claim("shop", str(project)).release()
    assert list(root.iterdir()) == []
    runtime.claim("shop", str(project)).release()


def test_a_second_claim_says_which_supervisor_is_running(project: Path) -> None:
    claim = runtime.claim("shop", str(project))
    try:
        expected = re.escape(f"a supervisor shop is already running (pid {os.getpid()}) for {project}: ")
        with pytest.raises(OperationFailed, match=expected):
            runtime.claim("shop", "/elsewhere")
    finally:
        claim.release()


def test_what_a_killed_supervisor_left_is_not_found_and_the_next_claim_replaces_it(root: Path, project: Path) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            runtime.claim("shop", str(project))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert (root / "shop" / "socket").exists()
    assert runtime.entries() == []
    claim = runtime.claim("shop", str(project))
    try:
        assert [entry.launcher_pid for entry in runtime.entries()] == [os.getpid()]
    finally:
        claim.release()


def test_a_claim_can_be_announced_by_another_process(project: Path) -> None:
    claim = runtime.claim("shop", str(project))
    try:
        claim.announce(4711)
        assert runtime.find(name="shop").launcher_pid == 4711
    finally:
        claim.release()


def test_the_lock_is_inheritable_only_on_demand(project: Path) -> None:
    claim = runtime.claim("shop", str(project))
    try:
        assert not os.get_inheritable(claim.lock_fd)
        claim.set_inheritable(True)
        assert os.get_inheritable(claim.lock_fd)
    finally:
        claim.release()


def test_a_supervisor_is_found_by_its_directory_by_the_one_above_it_and_by_name(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = runtime.claim("shop", str(project))
    try:
        expected = runtime.find(name="shop")
        assert expected.socket_path == claim.socket_path
        for directory in (project, project.parent):
            assert runtime.find(str(directory)) == expected
            monkeypatch.chdir(directory)
            assert runtime.find() == expected
        link = project.parent.parent / "link"
        link.symlink_to(project)
        assert runtime.find(str(link)) == expected
    finally:
        claim.release()


def test_what_is_not_found_is_named_with_the_way_out_and_those_that_run(project: Path, tmp_path: Path) -> None:
    with pytest.raises(NoSupervisor, match=rf"no supervisor runs for {project}: start one with `nsinit up`$"):
        runtime.find(str(project.parent))
    claim = runtime.claim("other", str(tmp_path))
    try:
        with pytest.raises(NoSupervisor, match=r"for shop: start one .* or choose one that runs with --name: other$"):
            runtime.find(name="shop")
    finally:
        claim.release()


def test_two_supervisors_of_one_directory_must_be_told_apart_by_name(project: Path) -> None:
    claims = [runtime.claim(name, str(project)) for name in ("b", "a")]
    try:
        assert [entry.name for entry in runtime.entries()] == ["a", "b"]
        with pytest.raises(UsageError, match="choose one with --name: a, b"):
            runtime.find(str(project))
        assert runtime.find(name="b").name == "b"
    finally:
        for claim in claims:
            claim.release()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-a", ".a", "a\n", "é", "x" * 65])
def test_names_that_are_no_file_names_are_usage_errors(name: str, project: Path) -> None:
    with pytest.raises(UsageError, match="can't be a supervisor's name"):
        runtime.claim(name, str(project))


def test_a_socket_path_that_is_too_long_is_refused_with_the_remedy(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NSINIT_RUNTIME_DIR", str(tmp_path / ("x" * 90)))
    with pytest.raises(OperationFailed, match="longer than 107 bytes: choose a shorter --name or NSINIT_RUNTIME_DIR"):
        runtime.claim("shop", str(project))


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_a_runtime_directory_that_others_may_enter_is_refused(root: Path, project: Path, mode: int) -> None:
    root.mkdir()
    root.chmod(mode)
    with pytest.raises(OperationFailed, match="must be a directory of yours with mode 0700"):
        runtime.claim("shop", str(project))


def test_a_runtime_directory_that_is_a_link_is_refused(root: Path, project: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir(mode=0o700)
    root.symlink_to(tmp_path / "target")
    with pytest.raises(OperationFailed, match="no link"):
        runtime.claim("shop", str(project))
    with pytest.raises(Denied, match="not yours"):
        runtime.entries()


def test_a_place_that_cannot_be_written_is_named_with_its_errno(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NSINIT_RUNTIME_DIR", str(tmp_path / "file" / "run"))
    with pytest.raises(OperationFailed, match="ENOTDIR: set NSINIT_RUNTIME_DIR to another place"):
        runtime.claim("shop", str(project))
    assert runtime.entries() == []


def test_strange_files_in_the_runtime_directory_are_passed_over(root: Path, project: Path) -> None:
    claim = runtime.claim("shop", str(project))
    try:
        (root / "file").touch()
        (root / "empty").mkdir()
        (root / "link").symlink_to("nowhere")
        assert [entry.name for entry in runtime.entries()] == ["shop"]
        (root / "shop" / "info.json").write_text("{")
        assert runtime.entries() == []
    finally:
        claim.release()


class TestWithoutAGivenDirectory:
    @pytest.fixture(autouse=True)
    def _places(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NSINIT_RUNTIME_DIR")
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)

    def test_root_uses_run_and_a_user_a_directory_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "access", lambda path, mode: path == "/run")
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert runtime._roots() == ["/run/nsinit"]
        monkeypatch.setattr(os, "geteuid", lambda: 12)
        assert runtime._roots() == ["/tmp/nsinit-12"]

    def test_root_that_cannot_write_to_run_uses_a_directory_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        assert runtime._roots() == ["/tmp/nsinit-0"]

    def test_the_session_s_directory_comes_first_and_the_other_is_searched_too(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", f"{tmp_path}/")
        own, plain = runtime._roots()
        assert own == f"{tmp_path}/nsinit"
        assert plain in ("/run/nsinit", f"/tmp/nsinit-{os.geteuid()}")

    @pytest.mark.parametrize("session", ["relative", "/nowhere/at/all"])
    def test_a_session_directory_that_is_none_is_not_used(self, session: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", session)
        assert len(runtime._roots()) == 1

    def test_another_user_s_session_directory_is_not_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
        assert len(runtime._roots()) == 1

    def test_a_name_taken_in_the_other_place_is_taken(
        self, tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        roots = [str(tmp_path / "a"), str(tmp_path / "b")]
        monkeypatch.setattr(runtime, "_roots", lambda: roots)
        claim = runtime.claim("shop", str(project))
        try:
            roots.reverse()
            with pytest.raises(OperationFailed, match="already running"):
                runtime.claim("shop", str(project))
        finally:
            claim.release()
