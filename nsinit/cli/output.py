"""What all verbs print alike: tables, JSON, durations, colours.

A pipe gets no colour and nothing cut off; a terminal gets both, unless NO_COLOR is set.
"""

import os
import shutil
import sys
from collections.abc import Sequence

import click

_COLOURS = {
    "ready": "green",
    "running": "green",
    "completed": "green",
    "waiting": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "backoff": "yellow",
    "unready": "red",
    "failed": "red",
    "frozen": "cyan",
}
_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def in_terminal() -> bool:
    """Whether the standard output is a terminal."""
    return sys.stdout.isatty()


def in_colour() -> bool:
    """Whether the standard output may be coloured (https://no-color.org)."""
    return in_terminal() and not os.environ.get("NO_COLOR")


def echo_json(value: object) -> None:
    """Print a value (structs too) as indented JSON."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def echo_json_line(value: object) -> None:
    """Print a value as one line of JSON."""
    import msgspec

    click.echo(msgspec.json.encode(value).decode())


def echo_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns. A terminal cuts the last column at its edge and colours the state."""
    cells = [[_plain(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    columns = shutil.get_terminal_size().columns if in_terminal() else None
    state = header.index("STATE") if "STATE" in header and in_colour() else None
    for number, row in enumerate(cells):
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        room = None if columns is None else max(columns - sum(map(len, padded[:-1])) - 2 * len(padded) + 2, 1)
        padded[-1] = _cut(row[-1], room)
        if state is not None and number > 0:
            padded[state] = click.style(padded[state], fg=_COLOURS.get(row[state]))
        click.echo("  ".join(padded).rstrip())


def state_styled(state: str) -> str:
    """A state, coloured where the output may be."""
    return click.style(state, fg=_COLOURS.get(state)) if in_colour() else state


def duration(seconds: float | None) -> str:
    """Two units of a duration, as in "3d 4h"; "-" for none."""
    if seconds is None:
        return "-"
    rest = int(seconds)
    parts: list[str] = []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def optional(value: object) -> str:
    """A value, or "-" for none."""
    return "-" if value is None else str(value)


def _plain(text: str) -> str:
    """Text from a supervisor can't move the cursor of whoever reads it."""
    return "".join(character if character.isprintable() else "?" for character in text.replace("\n", " "))


def _cut(text: str, room: int | None) -> str:
    return text if room is None or len(text) <= room else text[: room - 1] + "…"
