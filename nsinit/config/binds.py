"""Bind mounts as a service file writes them: "SOURCE:DESTINATION[:ro]", or "PATH" for the same place."""

from msgspec import Struct

from nsinit.config.syntax import Syntax, parse_mount_point, parse_path, refuse_duplicates, strings


class Bind(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`source` (outside) appears at `destination` (inside the service's root); both are absolute."""

    source: str
    destination: str
    read_only: bool = False


def parse_bind(text: str) -> Bind:
    """One bind; a path with a colon in it can't be written."""
    parts = text.split(":")
    mode = parts.pop() if len(parts) == 3 else "rw"
    if len(parts) > 2 or mode not in ("ro", "rw"):
        raise ValueError(f'{text!r} is not a bind: write "SOURCE:DESTINATION", "SOURCE:DESTINATION:ro" or "PATH"')
    return Bind(source=parse_path(parts[0]), destination=parse_mount_point(parts[-1]), read_only=mode == "ro")


def parse_binds(value: object) -> tuple[Bind, ...]:
    """All binds of a sandbox, each at a place of its own."""
    binds = tuple(parse_bind(text) for text in strings(value, "binds"))
    refuse_duplicates([bind.destination for bind in binds])
    return binds


def format_binds(binds: tuple[Bind, ...]) -> object:
    """The texts that `parse_binds` reads back."""
    return [f"{bind.source}:{bind.destination}" + (":ro" if bind.read_only else "") for bind in binds]


BINDS = Syntax(parse_binds, format_binds)
