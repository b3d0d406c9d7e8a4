"""The typed, checked form of a directory of service files: what everything above this layer works with.

A struct is a table of a file: `timeout_s` is the key `timeout` (a field's alias), and its `Annotated` syntax reads
it. The structs are immutable; whatever differs between two loads of a directory is a change of configuration.
Sources: services.md's tables of keys and defaults.
"""

from typing import Annotated, Literal

from msgspec import Struct, field

from nsinit.config import syntax
from nsinit.config.binds import BINDS, Bind
from nsinit.config.syntax import NotAKey

Seconds = Annotated[float, syntax.DURATION]
Name = Annotated[str, syntax.NAME]
ExitCodes = Annotated[tuple[int, ...], syntax.EXIT_CODES]
Names = Annotated[tuple[str, ...], syntax.NAMES]


class Dependency(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[depends_on.NAME]`: what must have happened to NAME before this service starts."""

    condition: Literal["started", "ready", "completed"] = "ready"
    required: bool = True
    restart: bool = False


class Readiness(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[readiness]`: how a service that has started shows that it is ready. A timeout of 0 is none."""

    method: Literal["none", "notify"] = "none"
    timeout_s: Seconds = field(name="timeout", default=60.0)


class Restart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[restart]`: what follows an exit. A oneshot's default policy is "no"; a limit of 0 is none."""

    policy: Literal["always", "on-failure", "no"] = "always"
    delay_s: Seconds = field(name="delay", default=0.5)
    factor: Annotated[float, syntax.Syntax(syntax.number(1, 1000), syntax.itself)] = 2.0
    max_delay_s: Seconds = field(name="max_delay", default=30.0)
    jitter: Annotated[float, syntax.Syntax(syntax.number(0, 1), syntax.itself)] = 0.1
    reset_after_s: Seconds = field(name="reset_after", default=30.0)
    limit: Annotated[int, syntax.Syntax(syntax.integer(0, 1_000_000), syntax.itself)] = 10
    window_s: Seconds = field(name="window", default=600.0)
    on_limit: Literal["fail", "shutdown"] = "fail"
    prevent_exit_codes: ExitCodes = ()


class Stop(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[stop]`: the signal that asks a service to end, who gets it, and how long until SIGKILL."""

    signal: Annotated[int, syntax.SIGNAL] = 15
    scope: Literal["main", "group", "all"] = "main"
    timeout_s: Seconds = field(name="timeout", default=10.0)


class Sandbox(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[sandbox]`: a service's namespaces and its view of the file system.

    `unshare_given` tells types that were asked for from those of the default, which may be missing in a kernel.
    Without "mount" in `unshare` nothing is mounted: `read_only`, `proc`, `tmpfs` and `binds` are off.
    """

    unshare: Annotated[tuple[str, ...], syntax.UNSHARE] = syntax.NAMESPACES
    unshare_given: Annotated[bool, NotAKey] = False
    hostname: Name = ""
    rootfs: Annotated[str, syntax.ROOTFS] = ""
    read_only: bool = True
    binds: Annotated[tuple[Bind, ...], BINDS] = ()
    tmpfs: Annotated[tuple[str, ...], syntax.PATHS] = ("/tmp",)
    proc: bool = True


class ServiceConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One service file.

    `path` is the file (absolute). `env` is complete: substituted, and with the variables of `pass_env` that exist.
    """

    name: Annotated[str, NotAKey]
    path: Annotated[str, NotAKey]
    type: Literal["simple", "oneshot"] = "simple"
    command: Annotated[tuple[str, ...], syntax.COMMAND]
    env: dict[str, str] = {}
    pass_env: Annotated[tuple[str, ...], syntax.VARIABLES] = ()
    working_dir: Annotated[str, syntax.PATH] = "/"
    user: Annotated[str, syntax.USER] = "root"
    startup: Literal["enabled", "disabled"] = "enabled"
    umask: Annotated[int, syntax.UMASK] = 0o022
    init: bool = True
    success_exit_codes: ExitCodes = (0,)
    after: Names = ()
    before: Names = ()
    depends_on: dict[str, Dependency] = {}
    readiness: Readiness = Readiness()
    restart: Restart = Restart()
    stop: Stop = Stop()
    sandbox: Sandbox = Sandbox()


class OuterSandbox(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """nsinit.toml's `[sandbox]`: the machine that the supervisor is PID 1 of. `rootfs` "" is the host's root."""

    hostname: Name = "nsinit"
    rootfs: Annotated[str, NotAKey] = ""


class SupervisorConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """nsinit.toml's `[supervisor]`. `name` is always filled in: given, or the directory's."""

    name: Name = ""
    log_format: Literal["console", "json"] = "console"
    exit_when: Literal["never", "all-stopped", "any-failed"] = "never"


class Project(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A directory of service files. `directory` is absolute, `services` is sorted by name."""

    directory: str
    name: str
    services: dict[str, ServiceConfig]
    sandbox: OuterSandbox = OuterSandbox()
    supervisor: SupervisorConfig = SupervisorConfig()
