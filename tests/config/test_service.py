import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from nsinit.config import Bind, Dependency, Project, Readiness, Restart, Sandbox, ServiceConfig, Stop
from nsinit.config.syntax import NAMESPACES

Service = Callable[..., ServiceConfig]
Errors = Callable[..., list[str]]

EVERYTHING = """
type = "oneshot"
command = "/bin/web --port 80"
env = { A = "1", B = "%n" }
pass_env = ["LANG"]
working_dir = "/srv"
user = "33:33"
startup = "disabled"
umask = "077"
init = false
success_exit_codes = [0, 3]
after = ["db"]
before = ["cache"]

[depends_on.db]
condition = "completed"
required = false
restart = true

[readiness]
method = "notify"
timeout = "5s"

[restart]
policy = "on-failure"
delay = "1s"
factor = 1.5
max_delay = "1m"
jitter = 0
reset_after = "10s"
limit = 0
window = "1h"
on_limit = "shutdown"
prevent_exit_codes = [2]

[stop]
signal = "INT"
scope = "all"
timeout = "2s"

[sandbox]
unshare = ["mount", "uts", "user"]
hostname = "box"
rootfs = "/srv/root"
read_only = false
binds = ["/a:/b:ro"]
tmpfs = []
proc = false
"""


def test_a_file_of_one_line_has_the_documented_defaults(load: Callable[..., Project], tmp_path: Path) -> None:
    web = load({"web.toml": 'command = ["/usr/bin/web"]'}).services["web"]
    assert web == ServiceConfig(
        name="web",
        path=str(tmp_path / "services" / "web.toml"),
        type="simple",
        command=("/usr/bin/web",),
        env={},
        pass_env=(),
        working_dir="/",
        user="root",
        startup="enabled",
        umask=0o022,
        init=True,
        success_exit_codes=(0,),
        after=(),
        before=(),
        depends_on={},
        readiness=Readiness(method="none", timeout_s=60.0),
        restart=Restart(
            policy="always",
            delay_s=0.5,
            factor=2.0,
            max_delay_s=30.0,
            jitter=0.1,
            reset_after_s=30.0,
            limit=10,
            window_s=600.0,
            on_limit="fail",
            prevent_exit_codes=(),
        ),
        stop=Stop(signal=signal.SIGTERM, scope="main", timeout_s=10.0),
        sandbox=Sandbox(
            unshare=NAMESPACES,
            unshare_given=False,
            hostname="web",
            rootfs="",
            read_only=True,
            binds=(),
            tmpfs=("/tmp",),
            proc=True,
        ),
    )


def test_every_key_reaches_its_field(load: Callable[..., Project], tmp_path: Path) -> None:
    others = {"db.toml": 'command = ["db"]', "cache.toml": 'command = ["cache"]'}
    project = load({"web.toml": EVERYTHING, **others}, {"LANG": "C", "HOME": "/root"})
    assert project.services["web"] == ServiceConfig(
        name="web",
        path=str(tmp_path / "services" / "web.toml"),
        type="oneshot",
        command=("/bin/web", "--port", "80"),
        env={"LANG": "C", "A": "1", "B": "web"},
        pass_env=("LANG",),
        working_dir="/srv",
        user="33:33",
        startup="disabled",
        umask=0o077,
        init=False,
        success_exit_codes=(0, 3),
        after=("db",),
        before=("cache",),
        depends_on={"db": Dependency(condition="completed", required=False, restart=True)},
        readiness=Readiness(method="notify", timeout_s=5.0),
        restart=Restart(
            policy="on-failure",
            delay_s=1.0,
            factor=1.5,
            max_delay_s=60.0,
            jitter=0.0,
            reset_after_s=10.0,
            limit=0,
            window_s=3600.0,
            on_limit="shutdown",
            prevent_exit_codes=(2,),
        ),
        stop=Stop(signal=signal.SIGINT, scope="all", timeout_s=2.0),
        sandbox=Sandbox(
            unshare=("user", "mount", "uts"),
            unshare_given=True,
            hostname="box",
            rootfs="/srv/root",
            read_only=False,
            binds=(Bind(source="/a", destination="/b", read_only=True),),
            tmpfs=(),
            proc=False,
        ),
    )


def test_a_dependency_is_required_and_ready_by_default(load: Callable[..., Project]) -> None:
    project = load({"a.toml": "command = 'a'\n[depends_on.b]", "b.toml": "command = 'b'"})
    assert project.services["a"].depends_on == {"b": Dependency(condition="ready", required=True, restart=False)}


def test_pass_env_copies_what_is_set_and_only_that(service: Service) -> None:
    web = service('pass_env = ["A", "B"]', {"A": "1", "C": "3"})
    assert web.env == {"A": "1"}
    assert web.pass_env == ("A", "B")


def test_env_goes_before_what_is_passed(service: Service) -> None:
    assert service('pass_env = ["PATH"]\nenv.PATH = "/x:${PATH}"', {"PATH": "/bin"}).env == {"PATH": "/x:/bin"}


def test_a_wrong_placeholder_is_an_error_at_its_line(errors: Errors) -> None:
    assert errors('command = "a"\n[env]\nA = "1"\nB = "%q"\nC = "${HOME}"\n', {"HOME": "/"}) == [
        "services/web.toml:4: env.B: unknown placeholder %q: there are %n and %i, and %% is a percent sign",
        "services/web.toml:5: env.C: ${HOME} needs 'HOME' in pass_env",
    ]


def test_a_oneshot_is_not_restarted_by_default(service: Service) -> None:
    assert service('type = "oneshot"').restart.policy == "no"
    assert service('type = "oneshot"\nrestart.delay = "1s"').restart == Restart(policy="no", delay_s=1.0)
    assert service('type = "oneshot"\nrestart.policy = "on-failure"').restart.policy == "on-failure"


def test_a_oneshot_that_always_restarts_is_refused(errors: Errors) -> None:
    [error] = errors('command = "a"\ntype = "oneshot"\nrestart.policy = "always"')
    assert error.startswith("services/web.toml:3: restart.policy: a oneshot that always restarts never completes")


def test_a_max_delay_shorter_than_the_delay_is_refused(errors: Errors) -> None:
    assert errors('command = "a"\n[restart]\ndelay = "1m"') == [
        "services/web.toml:3: restart.delay: max_delay must not be shorter than delay"
    ]
    assert errors('command = "a"\n[restart]\ndelay = "1m"\nmax_delay = "1s"') == [
        "services/web.toml:4: restart.max_delay: max_delay must not be shorter than delay"
    ]


def test_without_a_mount_namespace_nothing_is_mounted(service: Service) -> None:
    sandbox = service('sandbox.unshare = ["user", "pid"]').sandbox
    assert (sandbox.read_only, sandbox.proc, sandbox.tmpfs, sandbox.binds) == (False, False, (), ())
    assert sandbox.unshare_given


def test_proc_is_mounted_by_default_where_the_outer_one_is_wrong_or_missing(service: Service) -> None:
    assert service('sandbox.unshare = ["mount", "pid"]').sandbox.proc
    assert not service('sandbox.unshare = ["mount"]').sandbox.proc
    assert service('sandbox.unshare = ["mount"]\nsandbox.rootfs = "/r"').sandbox.proc
    assert service('sandbox.unshare = ["mount"]\nsandbox.proc = true').sandbox.proc


@pytest.mark.parametrize(
    "key", ['rootfs = "/r"', "read_only = true", 'binds = ["/a"]', 'tmpfs = ["/a"]', "proc = true"]
)
def test_a_mount_that_is_asked_for_needs_a_mount_namespace(errors: Errors, key: str) -> None:
    name = key.split()[0]
    assert errors(f'command = "a"\n[sandbox]\nunshare = ["user"]\n{key}') == [
        f'services/web.toml:4: sandbox.{name}: it needs a mount namespace: add "mount" to sandbox.unshare'
    ]


def test_what_is_turned_off_needs_no_mount_namespace(service: Service) -> None:
    service('[sandbox]\nunshare = []\nrootfs = ""\nread_only = false\nbinds = []\ntmpfs = []\nproc = false')


def test_a_hostname_needs_a_uts_namespace(errors: Errors) -> None:
    assert errors('command = "a"\n[sandbox]\nunshare = ["user"]\nhostname = "h"') == [
        'services/web.toml:4: sandbox.hostname: it needs a uts namespace: add "uts" to sandbox.unshare'
    ]


@pytest.mark.parametrize("line", ["init = false", "sandbox.init = false", "[sandbox]\ninit = false"])
def test_init_is_a_key_of_the_file_and_may_be_spelt_as_one_of_its_sandbox(
    service: Callable[..., ServiceConfig], line: str
) -> None:
    assert not service(line).init


def test_init_in_both_places_is_an_error_even_if_they_agree(errors: Errors) -> None:
    assert errors('command = "a"\ninit = true\nsandbox.init = true\n') == [
        "services/web.toml:3: sandbox.init: init is given twice: keep the one at the top of the file"
    ]
