"""Durations and sizes as a service file writes them. Pure functions; errors are ValueErrors with a whole sentence.

duration    "500ms", "10s", "1h30m"       -> seconds, units in descending order, fractions allowed
size        "512", "64K", "1G"            -> bytes, powers of 1024
"""

import re

_DURATION = re.compile(
    r"(?:([0-9]+(?:\.[0-9]+)?)d)?(?:([0-9]+(?:\.[0-9]+)?)h)?(?:([0-9]+(?:\.[0-9]+)?)m)?"
    r"(?:([0-9]+(?:\.[0-9]+)?)s)?(?:([0-9]+(?:\.[0-9]+)?)ms)?"
)
_UNIT_MS = (86_400_000, 3_600_000, 60_000, 1000, 1)
_SIZE = re.compile(r"([0-9]+)([KMGT]?)")
_SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

# What a kernel timer and a 64-bit file offset can still hold, with room to add to.
MAX_DURATION_S = 100 * 365 * 86_400
MAX_SIZE_BYTES = 1 << 62
# No number that fits needs more; int() and float() would take quadratic time over longer ones.
_MAX_TEXT = 64


def parse_duration(value: object) -> float:
    """Seconds in a duration.

    Raises:
        ValueError: it is none, or longer than a hundred years.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f'{value} has no unit: write a duration as in "{value}s"')
    if not isinstance(value, str):
        raise ValueError('expected a duration, as in "500ms", "10s" or "2h"')
    match = _DURATION.fullmatch(value) if 0 < len(value) <= _MAX_TEXT else None
    if match is None:
        raise ValueError(f'{value!r} is not a duration: write it as in "500ms", "10s", "2h" or "1m30s"')
    # Summed in milliseconds, so that "0.3s" and "300ms" are the same number.
    total_ms = sum(float(number) * unit for number, unit in zip(match.groups(), _UNIT_MS, strict=True) if number)
    if total_ms > MAX_DURATION_S * 1000:
        raise ValueError(f"{value!r} is longer than a hundred years")
    return total_ms / 1000


def format_duration(seconds: float) -> str:
    """The shortest duration that `parse_duration` reads back as `seconds` (to the microsecond)."""
    millis = round(seconds * 1000, 3)
    for unit, size_ms in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if millis and millis % size_ms == 0:
            return f"{int(millis // size_ms)}{unit}"
    if not millis:
        return "0s"
    return f"{int(millis)}ms" if millis == int(millis) else f"{millis:.3f}".rstrip("0") + "ms"


def parse_size(value: object) -> int:
    """Bytes in a size.

    Raises:
        ValueError: it is none, or 2**62 bytes or more.
    """
    if not isinstance(value, str):
        raise ValueError('expected a size, as in "64K" or "1G"')
    match = _SIZE.fullmatch(value) if len(value) <= _MAX_TEXT else None
    if match is None:
        raise ValueError(f'{value!r} is not a size: write it as in "512", "64K", "10M" or "1G"')
    size_bytes = int(match[1]) * _SIZE_UNITS[match[2]]
    if size_bytes >= MAX_SIZE_BYTES:
        raise ValueError(f"{value!r} is too large")
    return size_bytes


def format_size(size_bytes: int) -> str:
    """The shortest size that `parse_size` reads back as `size_bytes`."""
    for unit in "TGMK":
        if size_bytes and size_bytes % _SIZE_UNITS[unit] == 0:
            return f"{size_bytes // _SIZE_UNITS[unit]}{unit}"
    return str(size_bytes)
