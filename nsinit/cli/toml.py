"""TOML from plain values, enough for what `nsinit config` prints."""

import json
import re
from collections.abc import Mapping

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(table: Mapping[str, object], prefix: str = "") -> str:
    """The table as TOML: values first, then the tables below it; an empty table is written inline."""
    lines = []
    below = []
    for key, value in table.items():
        if isinstance(value, dict) and value:
            below.append((f"{prefix}{_key(key)}", value))
        else:
            lines.append(f"{_key(key)} = {_value(value)}\n")
    parts = ["".join(lines)] if lines else []
    for name, entries in below:
        own = to_toml(entries, f"{name}.")
        has_values = any(not isinstance(value, dict) or not value for value in entries.values())
        parts.append(f"[{name}]\n{own}" if has_values else own)
    return "\n".join(parts)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _value(key)


def _value(value: object) -> str:
    match value:
        case str():
            # A JSON string is a TOML basic string, but for DEL, which JSON does not escape.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
        case dict():
            return "{}" if not value else f"{{ {', '.join(f'{_key(k)} = {_value(v)}' for k, v in value.items())} }}"
    raise TypeError(f"{type(value).__name__} has no TOML form")
