"""From a service's file to its sandbox."""

from typing import Any

import pytest

from nsinit.config import Bind, Readiness, Sandbox, ServiceConfig, Stop
from nsinit.errors import LaunchError
from nsinit.kernel import namespaces
from nsinit.sandbox.spec import SandboxSpec
from nsinit.supervisor.plan import DEFAULT_PATH, NOTIFY_INSIDE, environment, sandbox_spec


def service(**keys: Any) -> ServiceConfig:
    return ServiceConfig(**{"name": "web", "path": "/srv/web.toml", "command": ("/bin/web", "-v"), **keys})


def spec(isolated: bool = True, notify: str = "", **keys: Any) -> SandboxSpec:
    return sandbox_spec(service(**keys), notify, isolated)


def test_a_service_gets_all_namespaces_and_only_those_of_the_default_may_be_missing() -> None:
    assert spec().unshare == spec().optional == namespaces.ALL
    given = Sandbox(unshare=("pid", "mount", "user"), unshare_given=True)
    assert spec(sandbox=given).unshare == namespaces.NEWPID | namespaces.NEWNS | namespaces.NEWUSER
    assert spec(sandbox=given).optional == 0


def test_the_defaults_are_a_read_only_root_a_fresh_proc_a_private_tmp_and_a_minimal_dev() -> None:
    made = spec(sandbox=Sandbox(hostname="web"))
    assert (made.read_only, made.proc, made.dev, made.hostname, made.rootfs) == (True, True, "minimal", "web", None)
    assert made.tmpfs == [("/tmp", "mode=1777")]


def test_every_key_reaches_the_sandbox() -> None:
    made = spec(
        user="33:33",
        working_dir="/srv",
        umask=0o077,
        init=False,
        stop=Stop(scope="all", timeout_s=3.0),
        sandbox=Sandbox(
            hostname="box",
            rootfs="/r",
            read_only=False,
            binds=(Bind(source="/a", destination="/b", read_only=True),),
            tmpfs=(),
        ),
    )
    assert made.argv == [b"/bin/web", b"-v"]
    assert (made.user, made.chdir, made.umask, made.init, made.target, made.grace_s) == (
        "33:33", "/srv", 0o077, False, "all", 3.0,
    )  # fmt: skip
    assert (made.hostname, made.rootfs, made.read_only, made.binds, made.tmpfs) == (
        "box", "/r", False, [("/a", "/b", True)], [],
    )  # fmt: skip
    assert made.session


@pytest.mark.parametrize("user", ["root", "0", "0:0", "root:root"])
def test_root_needs_no_look_into_etc_passwd(user: str) -> None:
    assert spec(user=user).user is None
    assert environment(service(user=user), {}) == {
        "PATH": DEFAULT_PATH, "HOME": "/root", "USER": "root", "LOGNAME": "root",
    }  # fmt: skip


def test_a_file_has_the_last_word_on_the_environment() -> None:
    made = environment(service(user="33", env={"PATH": "/opt", "NOTIFY_SOCKET": "mine"}), {"NOTIFY_SOCKET": "ours"})
    assert made == {"PATH": "/opt", "NOTIFY_SOCKET": "mine"}


def test_nothing_of_the_supervisor_s_environment_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    assert b"SECRET" not in spec().env


def test_the_readiness_socket_is_shown_inside_dev() -> None:
    made = spec(notify="/run/x/1", readiness=Readiness(method="notify"))
    assert made.binds == [("/run/x/1", NOTIFY_INSIDE, False)]
    assert made.env[b"NOTIFY_SOCKET"] == NOTIFY_INSIDE.encode()


def test_without_a_mount_namespace_nothing_is_mounted() -> None:
    sandbox = Sandbox(unshare=("pid", "user"), unshare_given=True, read_only=False, proc=False, tmpfs=())
    made = spec(notify="/run/x/1", sandbox=sandbox)
    assert not made.binds
    assert made.env[b"NOTIFY_SOCKET"] == b"/run/x/1"


def test_without_a_pid_namespace_the_init_adopts_and_the_command_dies_with_it() -> None:
    for made in (spec(isolated=False), spec(sandbox=Sandbox(unshare=("mount", "user"), unshare_given=True))):
        assert made.subreaper
        assert made.pdeathsig == 9
    assert spec(isolated=False, init=False).pdeathsig == 0
    assert not spec().subreaper


def test_without_namespaces_nothing_is_unshared_and_a_bind_to_itself_is_there_anyway() -> None:
    made = spec(isolated=False, sandbox=Sandbox(hostname="web", binds=(Bind(source="/a", destination="/a"),)))
    assert (made.unshare, made.hostname, made.tmpfs, made.binds, made.read_only) == (0, None, [], [], False)


@pytest.mark.parametrize(
    ("sandbox", "what"),
    [
        (Sandbox(rootfs="/srv/root"), "/srv/root"),
        (Sandbox(binds=(Bind(source="/a", destination="/b"),)), "a bind mount on /b"),
        (Sandbox(binds=(Bind(source="/a", destination="/a", read_only=True),)), "a bind mount on /a"),
    ],
)
def test_what_only_a_namespace_can_give_is_refused_without(sandbox: Sandbox, what: str) -> None:
    with pytest.raises(LaunchError, match=f"cannot mount {what}: EINVAL: the supervisor runs with --no-unshare"):
        spec(isolated=False, sandbox=sandbox)
