"""A TOML table -> a struct of the model, reporting every wrong key of it instead of stopping at the first.

msgspec checks plain values strictly; values with a syntax of their own are parsed by it. What comes back where
something was wrong has defaults in those places, so that later checks can go on; the report keeps it from getting out.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo, fields

from nsinit.config.report import Place
from nsinit.config.supported import KEYS, VALUES, file_keys, nearest_key
from nsinit.config.syntax import Syntax, kind, parse_variable, string

S = TypeVar("S", bound=Struct)

_WRONG = object()


def decode(struct: type[S], table: Mapping[str, object], place: Place, *, root: type[Struct], **given: object) -> S:
    """The struct that a table describes.

    `given` are the fields that no file sets, `root` is the struct of the whole file.
    """
    values: dict[str, object] = dict(given)
    known = _fields(struct)
    for key, value in table.items():
        here = place.key(key)
        if field := known.get(key):
            decoded = _decode_field(struct, field, value, here, root)
            if decoded is not _WRONG:
                values[field.name] = decoded
        elif key in KEYS.get(struct, ()):
            here.error("not supported yet")
        else:
            here.error(f"unknown key, the nearest known key is {nearest_key(struct, root, key)}")
    for key, field in known.items():
        if field.required and field.name not in values:
            if key not in table:
                place.error(f"the key {key!r} is missing")
            values[field.name] = ()
    return struct(**values)


@lru_cache
def _fields(struct: type[Struct]) -> dict[str, FieldInfo]:
    keys = file_keys(struct)
    return {field.encode_name: field for field in fields(struct) if field.encode_name in keys}


def _decode_field(struct: type[Struct], field: FieldInfo, value: object, place: Place, root: type[Struct]) -> object:
    if isinstance(value, str) and value in VALUES.get((struct, field.name), ()):
        place.error(f"{value!r} is not supported yet")
        return _WRONG
    try:
        if isinstance(field.type, type) and issubclass(field.type, Struct):
            return decode(field.type, _table(value), place, root=root)
        if get_origin(field.type) is dict:
            return _decode_entries(get_args(field.type)[1], _table(value), place, root)
        return _decode_value(field.type, value)
    except ValueError as error:
        place.error(str(error))
        return _WRONG


def _decode_entries(kind_: type, table: Mapping[str, object], place: Place, root: type[Struct]) -> dict[str, object]:
    """The entries of a table whose keys are names: of services, or of environment variables."""
    entries: dict[str, object] = {}
    for key, value in table.items():
        try:
            if issubclass(kind_, Struct):
                entries[key] = decode(kind_, _table(value), place.key(key), root=root)
            else:
                entries[parse_variable(key)] = string(value, "the value of a variable")
        except ValueError as error:
            place.key(key).error(str(error))
    return entries


def _decode_value(type_: object, value: object) -> object:
    for note in getattr(type_, "__metadata__", ()):
        if isinstance(note, Syntax):
            return note.parse(value)
    try:
        return msgspec.convert(value, type_, strict=True)
    except msgspec.ValidationError:
        raise ValueError(_expectation(type_, value)) from None


def _expectation(type_: object, value: object) -> str:
    if get_origin(type_) is Literal:
        choices = ", ".join(f'"{choice}"' for choice in get_args(type_))
        found = repr(value) if isinstance(value, str) else kind(value)
        return f"expected one of {choices}, but it is {found}"
    return f"expected true or false, but it is {kind(value)}"


def _table(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"expected a table, but it is {kind(value)}")
    return value
