"""The command line of `nsinit -- CMD` and `nsinit run`, parsed without argparse (8 ms of a 25 ms start).

One table says every option: its names, its value's name ("" for a flag), its help, and what it does to the spec.
"""

import os

from nsinit.errors import UsageError
from nsinit.kernel import namespaces, signals
from nsinit.sandbox.spec import TARGETS, SandboxSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_S = 100 * 365 * 86400
_PROPAGATIONS = ("private", "slave", "shared")
_MOUNTING = ("--rootfs", "--read-only", "--bind", "--tmpfs", "--dev", "--propagation")
# What only nsinit's init can do.
_OF_THE_INIT = ("-g", "--group", "--forward", "--rewrite", "--map-exit", "-e", "--grace", "-s", "--subreaper")


class Invocation:
    """A parsed command line: the sandbox, and what isn't the sandbox's."""

    def __init__(self) -> None:
        self.spec = SandboxSpec([])
        self.spec.env = dict(os.environb)
        self.spec.proc = True
        self.no_unshare = False
        self.help = False
        self.parent_death_signal = 0
        self.unshare: int | None = None  # None: all, from the default
        self.share = 0
        self.joins: list[tuple[str, str]] = []
        self.proc_given = True
        self.sandbox_options: list[str] = []
        self.init_options: list[str] = []


def parse_duration(text: str) -> float:
    """Seconds of "1.5", "500ms", "10s", "2h", "1d"; ValueError."""
    unit = text.lstrip("0123456789.")
    number = text[: len(text) - len(unit)]
    if unit not in ("", *_UNITS) or number.strip(".") == "" or number.count(".") > 1:
        raise ValueError(f"{text!r} is no duration: write 500ms, 10s, 2h or 1d")
    seconds = float(number) * _UNITS.get(unit, 1)
    if seconds > _LONGEST_S:
        raise ValueError(f"{text!r} is more than 100 years")
    return seconds


def parse_types(text: str) -> int:
    """The CLONE_NEW* flags of "net,pid" or "all"; ValueError names the one that isn't known."""
    if text == "all":
        return namespaces.ALL
    flags = 0
    for name in filter(None, text.split(",")):
        name = {"mnt": "mount"}.get(name, name)
        if name not in namespaces.TYPES:
            raise ValueError(f"no namespace type is called {name!r}: the types are {', '.join(namespaces.TYPES)}")
        flags |= namespaces.TYPES[name]
    return flags


def _parse_map(text: str) -> list[tuple[int, int, int]]:
    extents = []
    for part in text.split(","):
        numbers = part.split(":")
        if len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
            raise ValueError(f"{part!r} is no id range: write INSIDE:OUTSIDE:COUNT")
        extents.append((int(numbers[0]), int(numbers[1]), int(numbers[2])))
    return extents


def parse_bind(text: str) -> tuple[str, str, bool]:
    """(source, destination, read-only) of "SRC:DST[:ro]" or "PATH"; ValueError."""
    source, *rest = text.split(":")
    read_only = rest[-1:] == ["ro"]
    if rest[-1:] in (["ro"], ["rw"]):
        rest.pop()
    if not source or len(rest) > 1:
        raise ValueError(f"{text!r} is no bind mount: write SOURCE:DESTINATION[:ro]")
    destination = rest[0] if rest else os.path.abspath(source)
    if not destination.startswith("/"):
        raise ValueError(f"the destination {destination!r} must be an absolute path")
    return os.path.abspath(source), _below_root(destination), read_only


def _absolute(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"{text!r} must be an absolute path")
    return text


def _below_root(path: str) -> str:
    if not os.path.normpath(path).strip("/"):
        raise ValueError(f"{path!r} is the root directory itself, which --rootfs gives")
    return path


def _filled(text: str) -> str:
    if not text:
        raise ValueError("the value is empty")
    return text


def _directory(text: str) -> str:
    return os.path.abspath(_filled(text))


def _one_of(choices: tuple[str, ...], text: str) -> str:
    if text not in choices:
        raise ValueError(f"{text!r} is none of {', '.join(choices)}")
    return text


def _rewrite(call: Invocation, text: str) -> None:
    for part in text.split(","):
        source, separator, target = part.partition("=")
        if not separator:
            raise ValueError(f"{part!r} is no rewrite rule: write TERM=QUIT, or WINCH= to drop a signal")
        number = signals.signal_number(source)
        call.spec.rewrite[number] = signals.signal_number(target) if target not in ("", "0") else 0


def _map_exit(call: Invocation, text: str) -> None:
    for part in text.split(","):
        source, _, target = part.partition("=")
        for number in (source, target or "0"):
            if not number.isdecimal() or int(number) > 255:
                raise ValueError(f"{part!r} is no pair of exit statuses: write 143=0")
        call.spec.map_exit[int(source)] = int(target or "0")


def _environment(call: Invocation, text: str) -> None:
    key, separator, value = os.fsencode(text).partition(b"=")
    if not key:
        raise ValueError(f"{text!r} has no name: write NAME=VALUE")
    if not separator and (inherited := os.environb.get(key)) is None:
        return
    call.spec.env[key] = value if separator else inherited  # type: ignore[assignment]  # checked above


def _join(call: Invocation, text: str) -> None:
    kind, separator, path = text.partition("=")
    if not separator or not path:
        raise ValueError(f"{text!r} is no namespace to join: write TYPE=PATH, such as net=/run/netns/blue")
    kind = {"mnt": "mount"}.get(kind, kind)
    if kind not in namespaces.TYPES:
        parse_types(kind)
        raise ValueError(f"{text!r} names more than one type: write --join once for each")
    call.joins.append((kind, path))


def _tmpfs(call: Invocation, text: str) -> None:
    destination, _, options = text.partition(":")
    call.spec.tmpfs.append((_below_root(_absolute(destination)), options))


def _seconds(text: str) -> int:
    negative = text.startswith("-")
    value = parse_duration(text.lstrip("-"))
    return -int(value) if negative else int(value)


def _set(name: str, convert: "Callable[[str], object]" = str) -> "Callable[[Invocation, str], None]":
    return lambda call, text: setattr(call.spec, name, convert(text))


def _flag(name: str, value: object = True) -> "Callable[[Invocation, str], None]":
    return lambda call, _: setattr(call.spec, name, value)


def _own(name: str, convert: "Callable[[str], object]" = lambda _: True) -> "Callable[[Invocation, str], None]":
    return lambda call, text: setattr(call, name, convert(text))


# names, the value's name, help, effect, needs a sandbox
OPTIONS: "list[tuple[tuple[str, ...], str, str, Callable[[Invocation, str], None], bool]]" = [
    (("-g", "--group"), "", "forward signals to the command's process group", _flag("target", "group"), False),
    (("--forward",), "main|group|all", "who gets forwarded signals (main)",
     _set("target", lambda text: _one_of(TARGETS, text)), False),
    (("--rewrite",), "SIG=SIG", "forward another signal instead; `WINCH=` drops it", _rewrite, False),
    (("--map-exit",), "N=M", "report exit status M instead of N", _map_exit, False),
    (("-e",), "N", "report success for exit status N (as tini does)", _map_exit, False),
    (("--grace",), "TIME", "time between TERM and KILL for what the command leaves behind (5s)",
     _set("grace_s", parse_duration), False),
    (("-p", "--parent-death-signal"), "SIG", "have this signal arrive when nsinit's own parent dies",
     _own("parent_death_signal", signals.signal_number), False),
    (("-s", "--subreaper"), "", "adopt orphans also without being PID 1", _flag("subreaper"), False),
    (("--no-unshare",), "", "no namespaces: just the init", _own("no_unshare"), False),
    (("-v", "--verbose"), "", "say what happens", _flag("verbose"), False),
    (("-h", "--help"), "", "show this text", _own("help"), False),
    (("--unshare",), "TYPES", "namespaces to make: user,mount,pid,net,uts,ipc,cgroup,time or all (all)",
     _own("unshare", parse_types), True),
    (("--share",), "TYPES", "namespaces to keep from outside", _own("share", parse_types), True),
    (("--join",), "TYPE=PATH", "enter the namespace at PATH", _join, True),
    (("--rootfs",), "DIR", "the root directory, entered by pivot_root", _set("rootfs", _directory), True),
    (("--read-only",), "", "make the root read-only", _flag("read_only"), True),
    (("--bind",), "SRC:DST[:ro]", "show a file or directory inside",
     lambda call, text: call.spec.binds.append(parse_bind(text)), True),
    (("--tmpfs",), "DIR[:OPTIONS]", "a new, empty file system in memory", _tmpfs, True),
    (("--no-proc",), "", "mount no /proc", _own("proc_given", lambda _: False), True),
    (("--dev",), "minimal|host|none", "what /dev is (minimal with --rootfs, else host)",
     _set("dev", lambda text: _one_of(("minimal", "host", "none"), text)), True),
    (("--propagation",), "private|slave|shared", "of the mount tree (private)",
     _set("propagation", lambda text: _one_of(_PROPAGATIONS, text)), True),
    (("--hostname",), "NAME", "the host name inside", _set("hostname", _filled), True),
    (("--uid-map",), "IN:OUT:N", "user ids inside and outside", _set("uid_map", _parse_map), True),
    (("--gid-map",), "IN:OUT:N", "group ids inside and outside", _set("gid_map", _parse_map), True),
    (("--boottime",), "TIME", "shift the time since boot",
     lambda call, text: call.spec.time_offsets.update(boottime=_seconds(text)), True),
    (("--monotonic",), "TIME", "shift the monotonic clock",
     lambda call, text: call.spec.time_offsets.update(monotonic=_seconds(text)), True),
    (("--no-init",), "", "the command itself is PID 1", _flag("init", False), True),
    (("--user",), "USER[:GROUP]", "who the command runs as, by the sandbox's own files", _set("user", _filled), False),
    (("--env",), "NAME=VALUE", "set a variable; NAME alone passes ours on", _environment, False),
    (("--clear-env",), "", "start from an empty environment", lambda call, _: call.spec.env.clear(), False),
    (("--chdir",), "DIR", "the working directory inside", _set("chdir", _filled), False),
]  # fmt: skip
_BY_NAME = {name: option for option in OPTIONS for name in option[0]}


def is_option(text: str) -> bool:
    """Whether the command line of an init, not of another verb, begins with `text`."""
    short = text[:1] == "-" and text[:2] != "--"
    return text == "--" or (text[:2] if short else text.partition("=")[0]) in _BY_NAME  # -e3, -gv


def parse(arguments: list[str]) -> Invocation:
    """Parse what follows `nsinit` or `nsinit run`.

    Raises:
        UsageError: names the option and what is expected.
    """
    call = Invocation()
    position = 0
    while position < len(arguments):
        word = arguments[position]
        position += 1
        if word == "--" or not word.startswith("-") or word == "-":
            position -= word != "--"
            break
        name, separator, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
        if name not in _BY_NAME:
            raise UsageError(f"there is no option {name}: see `nsinit run --help`")
        _, metavar, _, effect, sandbox = _BY_NAME[name]
        if metavar and not separator:
            if position == len(arguments):
                raise UsageError(f"option {name} needs a value: {name} {metavar}")
            value = arguments[position]
            position += 1
        elif separator and not metavar:
            if word.startswith("--"):
                raise UsageError(f"option {name} takes no value")
            position -= 1
            arguments = [*arguments[:position], "-" + value, *arguments[position + 1 :]]  # -gv is -g -v
        if sandbox:
            call.sandbox_options.append(name)
        if name in _OF_THE_INIT:
            call.init_options.append(name)
        try:
            effect(call, value)
        except ValueError as error:
            raise UsageError(f"option {name}: {error}") from None
    call.spec.argv = [os.fsencode(word) for word in arguments[position:]]
    if not call.spec.argv:
        call.spec.argv = [os.environb.get(b"SHELL") or b"/bin/sh"]
    return call


def complete(call: Invocation) -> SandboxSpec:
    """Check the options against each other and fill in what follows from them.

    Raises:
        UsageError: two options contradict each other.
    """
    spec = call.spec
    if call.no_unshare:
        if call.sandbox_options:
            raise UsageError(f"{call.sandbox_options[0]} makes no sense with --no-unshare")
        return spec
    spec.unshare = namespaces.ALL if call.unshare is None else call.unshare
    if call.unshare is not None and os.geteuid() != 0 and not call.share & namespaces.NEWUSER:
        spec.unshare |= namespaces.NEWUSER  # an ordinary user can't make the others without it
    joined = parse_types(",".join(kind for kind, _ in call.joins))
    spec.unshare &= ~(call.share | joined)
    spec.optional = spec.unshare if call.unshare is None else 0
    has_mounts = bool(spec.unshare & namespaces.NEWNS)
    mounting = [name for name in call.sandbox_options if name in _MOUNTING]
    if mounting and not has_mounts:
        raise UsageError(f"{mounting[0]} needs a mount namespace: add mount to --unshare")
    if call.init_options and not spec.init:
        raise UsageError(f"{call.init_options[0]} makes no sense with --no-init")
    if spec.hostname is not None and not spec.unshare & namespaces.NEWUTS:
        raise UsageError("--hostname needs a uts namespace: add uts to --unshare")
    if spec.time_offsets and not spec.unshare & namespaces.NEWTIME:
        raise UsageError("--boottime and --monotonic need a time namespace: add time to --unshare")
    if (spec.uid_map or spec.gid_map) and not spec.unshare & namespaces.NEWUSER:
        raise UsageError("--uid-map and --gid-map need a user namespace: add user to --unshare")
    spec.proc = call.proc_given and has_mounts and bool(spec.unshare & namespaces.NEWPID)
    if spec.rootfs and "--dev" not in call.sandbox_options:
        spec.dev = "minimal"
    if spec.rootfs and spec.chdir is None:
        spec.chdir = "/"
    if not spec.rootfs and spec.dev == "none":
        spec.dev = "host"
    return spec


def open_joins(call: Invocation) -> None:
    """Open the namespaces to join, the user namespace first.

    Raises:
        UsageError: a path that is no namespace, or of another type.
    """
    order = list(namespaces.TYPES)
    for kind, path in sorted(call.joins, key=lambda join: order.index(join[0])):
        flag = namespaces.TYPES[kind]
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            found = namespaces.namespace_type(descriptor)
        except OSError as error:
            raise UsageError(f"--join {kind}={path}: {os.strerror(error.errno or 0)}") from None
        if found != flag:
            raise UsageError(f"--join {kind}={path}: that is a {'/'.join(namespaces.names(found))} namespace")
        call.spec.join.append((flag, descriptor))


def usage() -> str:
    """The help text of `nsinit -- CMD` and `nsinit run`."""
    lines = [
        "Usage: nsinit [OPTIONS] -- COMMAND [ARGUMENT]...",
        "       nsinit run [OPTIONS] [--] COMMAND [ARGUMENT]...",
    ]
    lines += ["", "Run COMMAND under a small init, in namespaces of its own. Without a command: $SHELL.", ""]
    for names, metavar, text, _, _ in OPTIONS:
        left = ", ".join(names) + (f" {metavar}" if metavar else "")
        lines.append(f"  {left:<34} {text}")
    lines += ["", "Exit status: the command's; 128+N if signal N ended it; 125 nsinit failed, 126 not executable,"]
    lines += ["127 not found."]
    return "\n".join(lines)
