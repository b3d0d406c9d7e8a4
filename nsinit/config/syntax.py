"""What single values of a service file look like: commands, signals, users, paths, binds, ...

A `Syntax` pairs the way in (`parse`: TOML value -> Python value, ValueError with a whole sentence) with the way back
(`render`, for `nsinit config`). The model's fields carry theirs in `Annotated`. No file is opened here.
"""

import re
import signal
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from nsinit.config.units import format_duration, parse_duration

T = TypeVar("T")

NAMESPACES = ("user", "mount", "pid", "net", "uts", "ipc", "cgroup", "time")
# (uid_t)-1 means "no change" to the kernel.
MAX_ID = 2**32 - 2
MAX_NAME = 64

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\$?")
_REALTIME = re.compile(r"SIGRT(?:MIN\+([0-9]{1,2})|MAX-([0-9]{1,2}))")


class Syntax(Generic[T]):
    """How a kind of value is read from a file and written back."""

    __slots__ = ("parse", "render")

    def __init__(self, parse: Callable[[object], T], render: Callable[[T], object]) -> None:
        self.parse = parse
        self.render = render


class NotAKey:
    """Marks a field that nsinit fills in: no file may set it."""


def string(value: object, what: str) -> str:
    """`value`, if it is a string that a system call can take."""
    if not isinstance(value, str):
        raise ValueError(f"expected {what} (a string), but it is {kind(value)}")
    if "\0" in value:
        raise ValueError("a NUL character can't be passed to the kernel")
    return value


def strings(value: object, what: str) -> list[str]:
    """`value`, if it is a list of strings."""
    if not isinstance(value, list):
        raise ValueError(f"expected a list of {what}, but it is {kind(value)}")
    return [string(item, what) for item in value]


def kind(value: object) -> str:
    """What a TOML author calls the type of `value`."""
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "a list", dict: "a table"}
    return names.get(type(value), "a date or time")


def parse_name(value: object) -> str:
    """A service's, a supervisor's or a host's name."""
    name = string(value, "a name")
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise ValueError(
            f"{name!r} is not a valid name: use at most {MAX_NAME} letters, digits, '-', '_' and '.', "
            "the first a letter or a digit"
        )
    return name


def parse_command(value: object) -> tuple[str, ...]:
    """The arguments of a command: a list, or a string split as a shell would."""
    if isinstance(value, str):
        import shlex  # only for commands that are written as one string

        text = string(value, "a command")
        try:
            arguments = shlex.split(text)
        except ValueError as error:
            raise ValueError(f"cannot split {value!r} into arguments: {str(error).lower()}") from None
    elif isinstance(value, list):
        arguments = [string(item, "an argument") for item in value]
    else:
        raise ValueError(f"expected a list of arguments, or one string, but it is {kind(value)}")
    if not arguments or not arguments[0]:
        raise ValueError("the command is empty")
    return tuple(arguments)


def parse_path(value: object) -> str:
    """An absolute path."""
    path = string(value, "a path")
    if not path.startswith("/"):
        raise ValueError(f"{path!r} is not an absolute path: it must begin with /")
    return path


def parse_paths(value: object) -> tuple[str, ...]:
    """Absolute paths of mount points, none twice and none the root."""
    paths = tuple(parse_mount_point(item) for item in strings(value, "paths"))
    refuse_duplicates(paths)
    return paths


def parse_mount_point(value: object) -> str:
    """An absolute path other than the root."""
    path = parse_path(value)
    if not path.strip("/."):
        raise ValueError("the root itself can't be mounted over: use sandbox.rootfs")
    return path


def parse_rootfs(value: object) -> str:
    """A directory, or "" for the outer root."""
    if isinstance(value, str) and value.startswith(("oci:", "tar:")):
        raise ValueError(f'"{value[:4]}" images are not supported yet: unpack it and give the directory')
    return "" if value == "" else parse_path(value)


def parse_namespaces(value: object) -> tuple[str, ...]:
    """Types of namespaces, in the order nsinit uses."""
    names = strings(value, "namespace types")
    for name in names:
        if name not in NAMESPACES:
            hint = {"mnt": "mount", "network": "net", "userns": "user", "hostname": "uts"}.get(name)
            remedy = f"write {hint!r}" if hint else f"the types are {', '.join(NAMESPACES)}"
            raise ValueError(f"unknown namespace type {name!r}: {remedy}")
    refuse_duplicates(names)
    return tuple(name for name in NAMESPACES if name in names)


def parse_signal(value: object) -> int:
    """The number of a signal given by name, with or without SIG; RTMIN+N and RTMAX-N too."""
    text = string(value, "the name of a signal")
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    realtime = _REALTIME.fullmatch(name)
    number = getattr(signal.Signals, name, None)
    if realtime:
        number = signal.SIGRTMIN + int(realtime[1]) if realtime[1] else signal.SIGRTMAX - int(realtime[2])
        number = number if signal.SIGRTMIN <= number <= signal.SIGRTMAX else None
    if not isinstance(number, int):
        raise ValueError(f'there is no signal {text!r}: write a name, as in "TERM" or "SIGINT"')
    return int(number)


def format_signal(number: int) -> str:
    """The name of a signal, without SIG."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return f"RTMIN+{number - signal.SIGRTMIN}"


def parse_user(value: object) -> str:
    """USER or USER:GROUP, each a name or an id of the sandbox."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = string(value, "a user's name or id")
    parts = text.split(":")
    if len(parts) > 2:
        raise ValueError(f"{text!r} is neither USER nor USER:GROUP")
    for part in parts:
        if re.fullmatch(r"-?[0-9]+", part):
            if len(part) > 10 or not 0 <= int(part) <= MAX_ID:
                raise ValueError(f"id {part} is out of range: ids are 0 to {MAX_ID}")
        elif not _ACCOUNT.fullmatch(part):
            raise ValueError(f"{part!r} is neither a name of an account nor an id")
    return text


def parse_umask(value: object) -> int:
    """A file mode mask in octal digits."""
    text = string(value, 'an octal mask such as "022"')
    if not re.fullmatch(r"0?[0-7]{1,3}", text):
        raise ValueError(f'{text!r} is not an octal mask: write it as in "022"')
    return int(text, 8)


def parse_exit_codes(value: object) -> tuple[int, ...]:
    """Exit statuses of a process."""
    if not isinstance(value, list) or not all(type(code) is int for code in value):
        raise ValueError("expected a list of exit codes, as in [0, 3]")
    for code in value:
        if not 0 <= code <= 255:
            raise ValueError(f"exit code {code} is out of range: they are 0 to 255")
    return tuple(value)


def parse_names(value: object) -> tuple[str, ...]:
    """Names of services."""
    names = strings(value, "names of services")
    refuse_duplicates(names)
    return tuple(names)


def parse_variables(value: object) -> tuple[str, ...]:
    """Names of environment variables."""
    return tuple(parse_variable(name) for name in strings(value, "names of variables"))


def parse_variable(name: str) -> str:
    """The name of an environment variable."""
    if not name or "=" in name or "\0" in name:
        raise ValueError(f"{name!r} is not a name for a variable: it must not be empty nor contain '=' or NUL")
    return name


def number(low: float, high: float) -> Callable[[object], float]:
    """A parser of numbers from `low` to `high`; nan is in no range."""

    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"expected a number, but it is {kind(value)}")
        if not low <= value <= high:
            raise ValueError(f"{value} is out of range: it must be {low:g} to {high:g}")
        return float(value)

    return parse


def integer(low: int, high: int) -> Callable[[object], int]:
    """A parser of whole numbers from `low` to `high`."""

    def parse(value: object) -> int:
        if type(value) is not int:
            raise ValueError(f"expected a whole number, but it is {kind(value)}")
        if not low <= value <= high:
            raise ValueError(f"it is out of range: it must be {low} to {high}")
        return value

    return parse


def refuse_duplicates(items: Sequence[str]) -> None:
    """Raise for the first item that is there twice."""
    for index, item in enumerate(items):
        if item in items[:index]:
            raise ValueError(f"{item!r} is listed twice")


def itself(value: T) -> object:
    """The rendering of values that TOML and JSON have as they are."""
    return list(value) if isinstance(value, tuple) else value


DURATION = Syntax(parse_duration, format_duration)
NAME = Syntax(parse_name, itself)
COMMAND = Syntax(parse_command, itself)
PATH = Syntax(parse_path, itself)
PATHS = Syntax(parse_paths, itself)
ROOTFS = Syntax(parse_rootfs, itself)
UNSHARE = Syntax(parse_namespaces, itself)
SIGNAL = Syntax(parse_signal, format_signal)
USER = Syntax(parse_user, itself)
UMASK = Syntax(parse_umask, lambda mask: f"{mask:03o}")
EXIT_CODES = Syntax(parse_exit_codes, itself)
NAMES = Syntax(parse_names, itself)
VARIABLES = Syntax(parse_variables, itself)
