"""From a service's file to the sandbox it runs in: the supervisor's front end of `SandboxSpec`."""

import os
from collections.abc import Mapping

from nsinit.config.model import ServiceConfig
from nsinit.errors import LaunchError
from nsinit.kernel import namespaces, signals
from nsinit.sandbox.dev import SOCKET_NAME
from nsinit.sandbox.spec import SandboxSpec

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Where a service with a /dev of its own finds its notification socket.
NOTIFY_INSIDE = f"/dev/{SOCKET_NAME}"
_ROOT_NAMES = ("root", "0", "root:root", "0:0")
_EINVAL = 22


def environment(config: ServiceConfig, extra: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a service: nothing of the supervisor's own but what its file passes on."""
    env = {"PATH": DEFAULT_PATH}
    if config.user in _ROOT_NAMES:
        env |= {"HOME": "/root", "USER": "root", "LOGNAME": "root"}
    return env | dict(extra) | config.env


def sandbox_spec(
    config: ServiceConfig, notify_socket: str, isolated: bool, dev_template: str | None = None
) -> SandboxSpec:
    """The sandbox of a service; `notify_socket` is "" where it has none, `isolated` false with --no-unshare.

    Raises:
        LaunchError: the file asks for what only a namespace can give, and there are none.
    """
    spec = SandboxSpec([os.fsencode(word) for word in config.command])
    spec.user = None if config.user in _ROOT_NAMES else config.user
    spec.umask = config.umask
    spec.chdir = config.working_dir
    spec.grace_s = config.stop.timeout_s
    spec.init = config.init
    spec.target = config.stop.scope
    spec.session = True
    if isolated:
        _add_namespaces(spec, config)
        spec.dev_template = dev_template
    else:
        _refuse_namespaces(config)
    if not spec.unshare & namespaces.NEWPID:
        # Nothing ends by itself when the init does: it has to adopt what the command leaves behind, and end it.
        spec.subreaper = True
        spec.pdeathsig = signals.SIGKILL if spec.init else 0
    extra = {}
    if notify_socket:
        extra["NOTIFY_SOCKET"] = notify_socket
        if isolated and spec.dev == "minimal":
            spec.binds.append((notify_socket, NOTIFY_INSIDE, False))
            extra["NOTIFY_SOCKET"] = NOTIFY_INSIDE
    spec.env = {os.fsencode(key): os.fsencode(value) for key, value in environment(config, extra).items()}
    return spec


def _add_namespaces(spec: SandboxSpec, config: ServiceConfig) -> None:
    sandbox = config.sandbox
    for name in sandbox.unshare:
        spec.unshare |= namespaces.TYPES[name]
    spec.optional = 0 if sandbox.unshare_given else spec.unshare
    if spec.unshare & namespaces.NEWUTS:
        spec.hostname = sandbox.hostname
    if not spec.unshare & namespaces.NEWNS:
        return
    spec.proc = sandbox.proc and bool(spec.unshare & namespaces.NEWPID)
    spec.rootfs = sandbox.rootfs or None
    spec.read_only = sandbox.read_only
    spec.binds = [(bind.source, bind.destination, bind.read_only) for bind in sandbox.binds]
    spec.tmpfs = [(path, "mode=1777") for path in sandbox.tmpfs]
    spec.dev = "minimal"


def _refuse_namespaces(config: ServiceConfig) -> None:
    """A bind of a path to itself is there anyway; what moves or hides files can't be done without namespaces."""
    moved = [bind.destination for bind in config.sandbox.binds if bind.source != bind.destination or bind.read_only]
    wanted = config.sandbox.rootfs or (moved and f"a bind mount on {moved[0]}")
    if wanted:
        raise LaunchError("mount", _EINVAL, str(wanted), "the supervisor runs with --no-unshare")
