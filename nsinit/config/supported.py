"""The keys of services.md, as far as they are not fields of the model: known, and refused by name.

Never ignored silently: a service that asks for a limit or a secret must not run without it.
"""

from msgspec import Struct
from msgspec.structs import fields

from nsinit.config.model import Dependency, OuterSandbox, Readiness, Sandbox, ServiceConfig, Stop, SupervisorConfig
from nsinit.config.syntax import NotAKey


class ProjectFile(Struct, frozen=True, kw_only=True):
    """nsinit.toml."""

    sandbox: OuterSandbox = OuterSandbox()
    supervisor: SupervisorConfig = SupervisorConfig()


_SANDBOX_KEYS = frozenset({
    "capabilities", "dev", "gid_map", "join", "landlock", "masked", "no_new_privs", "overlay", "seccomp",
    "time_offset", "uid_map",
})  # fmt: skip

KEYS: dict[type[Struct], frozenset[str]] = {
    ServiceConfig: frozenset({
        "conflicts", "directory", "env_file", "group", "health", "logs", "network", "nice", "oom_score_adj",
        "post_stop", "pre_start", "reload_signal", "replicas", "resources", "schedule", "secrets", "socket",
        "supplementary_groups", "tty", "watchdog",
    }),
    Readiness: frozenset({"fd", "pattern"}),
    Stop: frozenset({"command", "drain"}),
    Sandbox: _SANDBOX_KEYS,
    ProjectFile: frozenset({"network"}),
    OuterSandbox: _SANDBOX_KEYS | {"unshare", "rootfs", "read_only", "binds", "tmpfs", "proc", "init", "uplink"},
    SupervisorConfig: frozenset({"state_dir"}),
}  # fmt: skip

VALUES: dict[tuple[type[Struct], str], frozenset[str]] = {
    (ServiceConfig, "type"): frozenset({"group", "supervisor"}),
    (Dependency, "condition"): frozenset({"healthy"}),
    (Readiness, "method"): frozenset({"fd", "log", "health"}),
}


def file_keys(table: type[Struct]) -> dict[str, object]:
    """The keys that a table may have, with their types."""
    return {field.encode_name: field.type for field in fields(table) if not _is_internal(field.type)}


def nearest_key(table: type[Struct], root: type[Struct], key: str) -> str:
    """The known key that an unknown one probably means: one of the same name elsewhere, else the most similar here."""
    import difflib  # only for a wrong file

    for name, kind in file_keys(root).items():
        if isinstance(kind, type) and issubclass(kind, Struct) and key in _known(kind):
            return f"{name}.{key}"
    if key in _known(root):
        return f"{key}, at the top of the file"
    return difflib.get_close_matches(key, sorted(_known(table)), n=1, cutoff=0.0)[0]


def _known(table: type[Struct]) -> set[str]:
    return file_keys(table).keys() | KEYS.get(table, frozenset())


def _is_internal(kind: object) -> bool:
    return NotAKey in getattr(kind, "__metadata__", ())
