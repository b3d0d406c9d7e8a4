"""The whole configuration in the words of the files, with every default filled in: what `nsinit config` prints."""

from msgspec import Struct
from msgspec.structs import fields

from nsinit.config.model import Project
from nsinit.config.supported import file_keys
from nsinit.config.syntax import Syntax, itself


def effective(project: Project) -> dict[str, object]:
    """A project as JSON-able values: each service as a file that would load as the same service, and its `path`."""
    services = {name: {"path": config.path} | _render(config) for name, config in project.services.items()}
    return {
        "directory": project.directory,
        "name": project.name,
        "sandbox": _render(project.sandbox),
        "supervisor": _render(project.supervisor),
        "services": services,
    }


def _render(struct: Struct) -> dict[str, object]:
    keys = file_keys(type(struct))
    return {
        field.encode_name: _render_value(getattr(struct, field.name), field.type)
        for field in fields(struct)
        if field.encode_name in keys
    }


def _render_value(value: object, kind: object) -> object:
    if isinstance(value, Struct):
        return _render(value)
    if isinstance(value, dict):
        return {key: _render_value(entry, None) for key, entry in value.items()}
    for note in getattr(kind, "__metadata__", ()):
        if isinstance(note, Syntax):
            return note.render(value)
    return itself(value)
