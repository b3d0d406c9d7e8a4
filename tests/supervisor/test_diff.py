"""What a reload restarts, and what it only tells."""

import pytest

from nsinit.config.model import (
    Dependency,
    OuterSandbox,
    Project,
    Readiness,
    Restart,
    Sandbox,
    ServiceConfig,
    Stop,
    SupervisorConfig,
)
from nsinit.supervisor.diff import POLICY, Difference, compare

PROCESS_KEYS = {
    "type": "oneshot",
    "command": ("/bin/other",),
    "env": {"A": "1"},
    "working_dir": "/tmp",
    "user": "nobody",
    "umask": 0o077,
    "init": False,
    "sandbox": Sandbox(read_only=False),
}
POLICY_KEYS = {
    "path": "/elsewhere/web.toml",
    "startup": "disabled",
    "success_exit_codes": (0, 3),
    "after": ("db",),
    "before": ("db",),
    "depends_on": {"db": Dependency()},
    "restart": Restart(policy="no"),
    "stop": Stop(timeout_s=1.0),
    "readiness": Readiness(timeout_s=1.0),
    "pass_env": ("HOME",),
}


def service(name: str = "web", **keys: object) -> ServiceConfig:
    return ServiceConfig(**{"name": name, "path": f"/srv/{name}.toml", "command": ("/bin/true",), **keys})


def project(*services: ServiceConfig, **keys: object) -> Project:
    return Project(directory="/srv", name="srv", services={config.name: config for config in services}, **keys)


def test_equal_projects_do_not_differ() -> None:
    assert not compare(project(service()), project(service()))


def test_new_and_gone_services_are_named_in_order() -> None:
    found = compare(project(service("b"), service("a")), project(service("d"), service("c")))
    assert found == Difference(added=("c", "d"), removed=("a", "b"))


@pytest.mark.parametrize("key", PROCESS_KEYS)
def test_what_shapes_the_process_restarts_that_service_and_no_other(key: str) -> None:
    new = service(**{key: PROCESS_KEYS[key]})
    assert compare(project(service(), service("db")), project(new, service("db"))) == Difference(restarted=("web",))


@pytest.mark.parametrize("key", POLICY_KEYS)
def test_policy_is_applied_live(key: str) -> None:
    new = service(**{key: POLICY_KEYS[key]})
    assert compare(project(service()), project(new)) == Difference(updated=("web",))


def test_how_readiness_is_shown_is_the_process_s_business() -> None:
    new = service(readiness=Readiness(method="notify"))
    assert compare(project(service()), project(new)) == Difference(restarted=("web",))


def test_a_restart_includes_new_policy() -> None:
    new = service(command=("/bin/other",), restart=Restart(policy="no"))
    assert compare(project(service()), project(new)) == Difference(restarted=("web",))


def test_the_outer_sandbox_is_reported_because_nothing_can_be_done_about_it() -> None:
    found = compare(project(service()), project(service(), sandbox=OuterSandbox(hostname="other", rootfs="/r")))
    assert found == Difference(outer=("sandbox.hostname", "sandbox.rootfs"))
    assert found


def test_the_supervisor_s_own_policy_concerns_no_service() -> None:
    new = project(service(), supervisor=SupervisorConfig(exit_when="all-stopped"))
    assert not compare(project(service()), new)


def test_every_key_of_a_service_is_decided_on_here() -> None:
    assert set(ServiceConfig.__struct_fields__) == PROCESS_KEYS.keys() | POLICY_KEYS.keys() | {"name"}
    assert POLICY_KEYS.keys() == POLICY
