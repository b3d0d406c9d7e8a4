"""nsinit doctor: what this machine can and cannot do, as this user, and what would help."""

import os
from collections.abc import Callable, Iterator
from errno import EACCES, EINVAL, ENOENT, ENOSPC, EPERM
from typing import NamedTuple

import click

from nsinit.cli import probes
from nsinit.cli.output import echo_json, in_colour
from nsinit.cli.probes import Failure
from nsinit.errors import NsinitError

_CONTROLLERS = ("cpu", "io", "memory", "pids")


class Finding(NamedTuple):
    """One line. Without an `essential` one nsinit can't work at all; without another it does without it."""

    name: str
    ok: bool
    detail: str = ""
    remedy: str = ""
    essential: bool = False


@click.command
@click.option("--json", "as_json", is_flag=True, help="Print JSON: an array.")
def command(as_json: bool) -> int:
    """Show what this machine can and cannot do as this user.

    Namespaces, ids, cgroups, mounts, networks: everything is really tried, in processes that end at once and change
    nothing outside themselves. Exit status 1 only when nsinit can't work here at all.
    """
    findings = list(_examine())
    if as_json:
        echo_json([finding._asdict() for finding in findings])
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            _echo(finding, width)
    return 0 if all(finding.ok for finding in findings if finding.essential) else 1


def _echo(finding: Finding, width: int) -> None:
    word = "ok" if finding.ok else "no"
    if in_colour():
        word = click.style(word, fg="green" if finding.ok else "red")
    text = ": ".join(filter(None, (finding.detail, finding.remedy)))
    click.echo(f"{finding.name.ljust(width)}  {word}  {text}".rstrip())


def _examine() -> Iterator[Finding]:
    yield _finding("kernel", _kernel, lambda errno: "nsinit needs Linux 5.12 or newer", essential=True)
    yield _finding("runtime directory", _runtime_directory, lambda errno: "", essential=True)
    for name, (flags, check) in probes.NAMESPACES.items():
        yield _finding(f"{name} namespace", _attempt(flags, check), _namespace_remedy(name))
    yield _finding("id ranges", _id_ranges, lambda errno: "")
    yield _finding("cgroup v2 delegation", _cgroup, lambda errno: "")
    for name, (flags, check) in probes.FEATURES.items():
        yield _finding(name, _attempt(flags, check), _feature_remedy(name))


def _attempt(flags: int, check: Callable[[], None]) -> Callable[[], str]:
    def run() -> str:
        probes.attempt(flags, check)
        return ""

    return run


def _finding(
    name: str, examine: Callable[[], str], remedy: Callable[[int], str], *, essential: bool = False
) -> Finding:
    try:
        return Finding(name=name, ok=True, detail=examine(), essential=essential)
    except Failure as failure:
        return Finding(name=name, ok=False, detail=str(failure), remedy=remedy(failure.errno), essential=essential)


def _kernel() -> str:
    from nsinit.kernel import mounts, process

    proc_fd = os.open("/proc", os.O_PATH | os.O_CLOEXEC)
    try:
        os.close(process.pidfd_open(os.getpid()))
        os.close(mounts.open_inside(proc_fd, "version"))
    except OSError as error:
        raise Failure(str(error), error.errno or 0) from error
    finally:
        os.close(proc_fd)
    return os.uname().release


def _runtime_directory() -> str:
    from nsinit.control.runtime import place

    try:
        return place()
    except NsinitError as error:
        raise Failure(str(error)) from error


def _namespace_remedy(name: str) -> Callable[[int], str]:
    def remedy(errno: int) -> str:
        if errno == EINVAL:
            return f"this kernel has no {name} namespaces: nsinit goes without where they are a default"
        limit = "mnt" if name == "mount" else name
        if errno == ENOSPC:
            return f"raise the limit: sysctl user.max_{limit}_namespaces=15000"
        return user_namespace_remedy() if errno in (EPERM, EACCES) else ""

    return remedy


def user_namespace_remedy() -> str:
    """Why user namespaces are forbidden here, as far as it can be seen, and what allows them."""
    switches = {
        "kernel.unprivileged_userns_clone": ("0", "1"),
        "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
        "user.max_user_namespaces": ("0", "15000"),
    }
    for switch, (forbids, allows) in switches.items():
        if _read(f"/proc/sys/{switch.replace('.', '/')}") == forbids:
            return f"allow user namespaces: sysctl {switch}={allows}"
    if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv"):
        return (
            "the container forbids it: start it with --security-opt seccomp=unconfined --security-opt "
            "apparmor=unconfined, or use --no-unshare"
        )
    return "a security policy (seccomp, LSM) or a chroot forbids user namespaces: use --no-unshare"


def _feature_remedy(name: str) -> Callable[[int], str]:
    modules = {"overlay": "overlay", "bridge": "bridge", "veth": "veth", "nft": "nf_tables", "tun": "tun"}

    def remedy(errno: int) -> str:
        if name == "proc" and errno == EPERM:
            return "parts of /proc are masked here: in a container, start it with --security-opt systempaths=unconfined"
        if name == "tun" and errno == ENOENT:
            return "modprobe tun, or in a container --device /dev/net/tun"
        if name == "tun" and errno == EACCES:
            return f"let this user open it: chmod 0666 {probes.TUN}"
        if errno in (EPERM, EACCES):
            return user_namespace_remedy()
        return f"load the kernel's module: modprobe {modules[name]}" if name in modules else ""

    return remedy


def _id_ranges() -> str:
    from nsinit.cli.ids import map_ids

    return map_ids()


def _cgroup() -> str:
    mount, own = _cgroup_mount(), _own_cgroup()
    if mount is None or own is None:
        raise Failure("no cgroup v2 is mounted: limits are not available: boot with systemd.unified_cgroup_hierarchy=1")
    path = os.path.normpath(f"{mount}/{own}")
    if not all(os.access(file, os.W_OK) for file in (path, f"{path}/cgroup.procs", f"{path}/cgroup.subtree_control")):
        raise Failure(
            f"{path} is not writable: limits are not available: start nsinit with "
            f"`systemd-run {'' if os.geteuid() == 0 else '--user '}--scope -p Delegate=yes nsinit ...`"
        )
    present = (_read(f"{path}/cgroup.controllers") or "").split()
    missing = [name for name in _CONTROLLERS if name not in present]
    if missing:
        raise Failure(
            f"{path} lacks the controllers {', '.join(missing)}: their limits are not available: delegate them, "
            "and if cgroup v1 holds them boot with systemd.unified_cgroup_hierarchy=1"
        )
    return path


def _cgroup_mount() -> str | None:
    for line in (_read("/proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        if after.split(" ")[0] == "cgroup2":
            return before.split(" ")[4]
    return None


def _own_cgroup() -> str | None:
    lines = (_read("/proc/self/cgroup") or "").splitlines()
    return next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)


def _read(path: str) -> str | None:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return None
