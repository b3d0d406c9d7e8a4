import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nsinit.cli import doctor, ids, netlink, probes
from nsinit.cli.probes import Failure
from nsinit.errors import KernelError
from nsinit.kernel.namespaces import FILES, NEWNET, NEWNS, NEWPID, NEWUSER, NEWUTS, TYPES
from tests.cli.conftest import Cli
from tests.support.runner import Runner

LINES = [
    "kernel",
    "runtime directory",
    *(f"{name} namespace" for name in TYPES),
    "id ranges",
    "cgroup v2 delegation",
    *probes.FEATURES,
]


def _own_namespaces() -> list[str]:
    return [os.readlink(f"/proc/self/ns/{file}") for file in FILES.values()]


def test_every_capability_is_one_line_and_nothing_is_left_on_the_host(cli: Cli, runtime_directory: Path) -> None:
    before = _own_namespaces(), os.uname().nodename, os.listdir("/sys/class/net")
    status, out, err = cli("doctor")
    assert (status, err) == (0, "")
    assert before == (_own_namespaces(), os.uname().nodename, os.listdir("/sys/class/net"))
    assert not runtime_directory.exists()
    lines = out.splitlines()
    assert [line[: len(name)] for line, name in zip(lines, LINES, strict=True)] == LINES
    assert all(line.split("  ")[1:] for line in lines)


def test_what_is_not_ok_says_why(cli: Cli) -> None:
    findings = json.loads(cli("doctor", "--json").out)
    assert [finding["name"] for finding in findings] == LINES
    assert all(finding["ok"] or finding["detail"] for finding in findings)
    assert [finding["name"] for finding in findings if finding["essential"]] == ["kernel", "runtime directory"]


def test_without_a_place_for_its_socket_nsinit_cannot_work(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(0o777)
    monkeypatch.setenv("NSINIT_RUNTIME_DIR", str(place))
    status, out, _ = cli("doctor")
    assert status == 1
    assert "runtime directory     no  cannot use" in out
    assert "set NSINIT_RUNTIME_DIR" in out


def test_a_probe_runs_as_root_in_its_namespaces() -> None:
    outside = os.readlink("/proc/self/ns/net")

    def check() -> None:
        if os.readlink("/proc/self/ns/net") == outside or os.getuid() != 0:
            raise Failure("not inside")

    probes.attempt(NEWUSER | NEWNET | NEWNS, check)


def test_a_probe_of_a_pid_namespace_is_its_pid_1() -> None:
    probes.attempt(NEWUSER | NEWPID, probes.is_pid_1)
    with pytest.raises(Failure, match="not its PID 1"):
        probes.attempt(NEWUSER | NEWUTS, probes.is_pid_1)


@pytest.mark.parametrize("flags", [NEWUSER, NEWUSER | NEWPID])
def test_a_probe_s_error_comes_back_with_its_number(flags: int) -> None:
    def check() -> None:
        raise KernelError("mount", errno.EPERM, "/x")

    with pytest.raises(Failure, match="cannot mount /x: EPERM") as caught:
        probes.attempt(flags, check)
    assert caught.value.errno == errno.EPERM


def test_a_probe_that_dies_is_a_failure() -> None:
    with pytest.raises(Failure, match="without a result"):
        probes.attempt(NEWUSER, lambda: os._exit(0))


def test_the_kernel_s_refusal_of_a_link_of_no_kind_is_reported() -> None:
    with pytest.raises(Failure, match="cannot add a nonsense interface: ENOTSUP") as caught:
        probes.attempt(NEWUSER | NEWNET, lambda: netlink.add_link("nonsense"))
    assert caught.value.errno == errno.EOPNOTSUPP


@pytest.mark.parametrize(("kind", "names"), [("bridge", {"nsinit0"}), ("veth", {"nsinit0", "veth0"})])
def test_a_link_that_was_added_is_there(kind: str, names: set[str]) -> None:
    def check() -> None:
        netlink.add_link(kind)
        with open("/proc/self/net/dev") as devices:
            found = {line.split(":")[0].strip() for line in devices if ":" in line}
        if not names <= found:
            raise Failure(f"there is {found}")

    probes.attempt(NEWUSER | NEWNET, check)


@pytest.mark.parametrize("ask", [lambda: netlink.add_link("bridge"), netlink.add_nft_table])
def test_without_privileges_over_the_network_namespace_both_are_refused(ask: Callable[[], None]) -> None:
    # In a user namespace of its own, but in the network namespace of the host.
    with pytest.raises(Failure) as caught:
        probes.attempt(NEWUSER, ask)
    assert caught.value.errno == errno.EPERM


@pytest.mark.parametrize(
    ("line", "number", "remedy"),
    [
        ("time", errno.EINVAL, "this kernel has no time namespaces"),
        ("mount", errno.ENOSPC, "sysctl user.max_mnt_namespaces=15000"),
        ("net", errno.EIO, ""),
    ],
)
def test_namespaces_that_fail_have_a_remedy(line: str, number: int, remedy: str) -> None:
    assert remedy in doctor._namespace_remedy(line)(number)


@pytest.mark.parametrize(
    ("line", "number", "remedy"),
    [
        ("proc", errno.EPERM, "systempaths=unconfined"),
        ("tun", errno.ENOENT, "modprobe tun"),
        ("tun", errno.EACCES, "chmod 0666 /dev/net/tun"),
        ("nft", errno.EPROTONOSUPPORT, "modprobe nf_tables"),
        ("proc", errno.EIO, ""),
    ],
)
def test_features_that_fail_have_a_remedy(line: str, number: int, remedy: str) -> None:
    assert remedy in doctor._feature_remedy(line)(number)


@pytest.mark.parametrize(
    ("switches", "remedy"),
    [
        ({"kernel/unprivileged_userns_clone": "0"}, "sysctl kernel.unprivileged_userns_clone=1"),
        ({"kernel/apparmor_restrict_unprivileged_userns": "1"}, "apparmor_restrict_unprivileged_userns=0"),
        ({"user/max_user_namespaces": "0"}, "sysctl user.max_user_namespaces=15000"),
        ({}, "--no-unshare"),
    ],
)
def test_the_switch_that_forbids_user_namespaces_is_named(
    monkeypatch: pytest.MonkeyPatch, switches: dict[str, str], remedy: str
) -> None:
    monkeypatch.setattr(doctor, "_read", lambda path: switches.get(path.removeprefix("/proc/sys/")))
    assert remedy in doctor.user_namespace_remedy()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whose ids are all mapped")
def test_root_maps_all_its_ids() -> None:
    with open("/proc/self/uid_map") as extents:
        count = sum(int(line.split()[2]) for line in extents)
    assert ids.map_ids() == f"{count} user ids"


def _id_ranges(runner: Runner) -> dict[str, object]:
    done = runner.run("doctor", "--json")
    assert done.status == 0
    return next(finding for finding in json.loads(done.stdout) if finding["name"] == "id ranges")


def test_a_user_without_subordinate_ids_is_told_how_to_get_them(nsinit_as_user: Runner) -> None:
    finding = _id_ranges(nsinit_as_user)
    assert not finding["ok"]
    assert "usermod --add-subuids" in str(finding["detail"])


def test_a_user_with_subordinate_ids_maps_them(nsinit_as_subordinate: Runner) -> None:
    finding = _id_ranges(nsinit_as_subordinate)
    assert (finding["ok"], finding["detail"]) == (True, "65537 user ids")
