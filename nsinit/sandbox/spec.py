"""What a sandbox is, as data.

`run` builds one from its flags, the supervisor from a service file; one launcher serves both. A spec crosses process
borders as a plain dict of marshal's types (`to_dict`, `from_dict`), so that no process that forks needs a parser.
"""

TYPE_CHECKING = False  # typing costs 9 ms at start-up
if TYPE_CHECKING:
    from typing import Any

# Which processes a forwarded signal goes to.
TARGETS = ("main", "group", "all")


class SandboxSpec:
    """One sandbox. Every attribute has a default that changes nothing, except `argv`.

    argv            the command, as bytes; looked up in the sandbox's own PATH when it has no slash
    env             the whole environment of the command, bytes to bytes
    chdir           working directory inside, or None: as it is (the sandbox's / after a change of root)
    user            "NAME|UID[:NAME|GID]" of the sandbox's own /etc/passwd, or None: as it is
    unshare         CLONE_NEW* flags to unshare; failing ones are errors
    optional        the part of `unshare` that comes from a default: skipped when the kernel lacks the type
    join            [(CLONE_NEW* flag, descriptor)] entered before anything is unshared
    uid_map,gid_map [(inside, outside, count)], or None: chosen by nsinit (see ids.py)
    hostname        None: unchanged
    rootfs          directory to pivot into, or None: the root stays
    read_only       the whole root is made read-only, recursively, before binds and tmpfs are added
    binds           [(source, destination, read_only)]
    tmpfs           [(destination, mount options)]
    proc            mount a fresh /proc
    dev             "minimal" (a tmpfs with null, zero, ... pts, shm) | "host" (left as it is, or bound from outside
                    when there is a rootfs) | "none"
    dev_template    where the caller's mount namespace has a template of a minimal /dev (see dev.py); None: nowhere
    propagation     "private" | "slave" | "shared": of the mount tree
    time_offsets    {"boottime"|"monotonic": seconds}
    loopback        bring lo up in a new network namespace
    init            nsinit's small init is the parent of the command; False: the command itself is PID 1
    subreaper       the small init adopts orphans also where it isn't PID 1
    target          who gets forwarded signals: "main" | "group" | "all"
    rewrite         {signal: signal or 0}: what a forwarded signal becomes; 0 drops it
    map_exit        {status: status}: the exit status that is reported instead
    grace_s         seconds that the main process's leftovers have between TERM and KILL
    umask           None: unchanged
    pdeathsig       signal for the command when its parent dies, 0: none
    session         the command gets a session of its own (no controlling terminal)
    fds             [(number inside, descriptor)]: all others are closed; 0, 1 and 2 stay when not listed
    ignored         signals the command has ignored
    blocked         signals the command has blocked
    verbose         report what init does
    """

    __slots__ = (
        "argv", "binds", "blocked", "chdir", "dev", "dev_template", "env", "fds", "gid_map", "grace_s", "hostname",
        "ignored", "init", "join", "loopback", "map_exit", "optional", "pdeathsig", "proc", "propagation",
        "read_only", "rewrite", "rootfs", "session", "subreaper", "target", "time_offsets", "tmpfs", "uid_map",
        "umask", "unshare", "user", "verbose",
    )  # fmt: skip

    def __init__(self, argv: list[bytes]) -> None:
        self.argv = argv
        self.env: dict[bytes, bytes] = {}
        self.chdir: str | None = None
        self.user: str | None = None
        self.unshare = 0
        self.optional = 0
        self.join: list[tuple[int, int]] = []
        self.uid_map: list[tuple[int, int, int]] | None = None
        self.gid_map: list[tuple[int, int, int]] | None = None
        self.hostname: str | None = None
        self.rootfs: str | None = None
        self.read_only = False
        self.binds: list[tuple[str, str, bool]] = []
        self.tmpfs: list[tuple[str, str]] = []
        self.proc = False
        self.dev = "host"
        self.dev_template: str | None = None
        self.propagation = "private"
        self.time_offsets: dict[str, int] = {}
        self.loopback = True
        self.init = True
        self.subreaper = False
        self.target = "main"
        self.rewrite: dict[int, int] = {}
        self.map_exit: dict[int, int] = {}
        self.grace_s = 5.0
        self.umask: int | None = None
        self.pdeathsig = 0
        self.session = False
        self.fds: list[tuple[int, int]] = []
        self.ignored: list[int] = []
        self.blocked: list[int] = []
        self.verbose = False

    def policy(self) -> "tuple[Any, ...]":
        """The part that the small init needs, as the arguments of its Policy."""
        return (
            self.init, self.session, self.target, self.rewrite, self.map_exit, self.grace_s, self.subreaper,
            self.verbose,
        )  # fmt: skip

    def to_dict(self) -> "dict[str, Any]":
        """The spec as a dict that marshal can write."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_dict(cls, values: "dict[str, Any]") -> "SandboxSpec":
        """The inverse of `to_dict`."""
        spec = cls(values["argv"])
        for name, value in values.items():
            setattr(spec, name, value)
        return spec
