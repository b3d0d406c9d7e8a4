"""What a reload has to do: two projects compared, service by service.

A key that shapes the process (its command, environment, user, sandbox, how it reports readiness) needs a new process;
any other key is policy and is applied to the one that runs. Keys are policy only if they are listed here: a key that
somebody adds to the file format and forgets here costs a restart, but never goes unnoticed.
"""

from msgspec import Struct, structs

from nsinit.config.model import Project, ServiceConfig

# `env` is complete, so a variable that `pass_env` adds shows there; which ones it names is no difference of its own.
POLICY = frozenset(
    {
        "path", "startup", "success_exit_codes", "after", "before", "depends_on", "restart", "stop", "readiness",
        "pass_env",
    }
)  # fmt: skip


class Difference(Struct, frozen=True):
    """Service names, each sorted: new ones, gone ones, those that need a new process, those with a new policy only.

    `outer` names the keys of nsinit.toml's [sandbox] that differ: only the next `up` can apply them.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    outer: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.restarted or self.updated or self.outer)


def compare(old: Project, new: Project) -> Difference:
    """The services that differ between two loads of a directory."""
    pairs = {
        name: (old.services[name], new.services[name]) for name in sorted(old.services.keys() & new.services.keys())
    }
    restarted = tuple(name for name, pair in pairs.items() if needs_new_process(*pair))
    return Difference(
        added=tuple(sorted(new.services.keys() - old.services.keys())),
        removed=tuple(sorted(old.services.keys() - new.services.keys())),
        restarted=restarted,
        updated=tuple(name for name, pair in pairs.items() if changed_keys(*pair) and name not in restarted),
        outer=tuple(f"sandbox.{key}" for key in sorted(changed_keys(old.sandbox, new.sandbox))),
    )


def changed_keys(old: Struct, new: Struct) -> frozenset[str]:
    """The fields in which two structs of one type differ."""
    return frozenset(
        field.name for field in structs.fields(old) if getattr(old, field.name) != getattr(new, field.name)
    )


def needs_new_process(old: ServiceConfig, new: ServiceConfig) -> bool:
    """Whether the running process is not what `new` describes."""
    # How readiness is shown is told to the process in its environment; how long to wait for it is policy.
    return bool(changed_keys(old, new) - POLICY) or old.readiness.method != new.readiness.method
