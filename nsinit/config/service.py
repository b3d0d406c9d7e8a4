"""One service file -> one ServiceConfig: what the keys mean together.

Defaults that depend on other keys are filled in here, and keys that contradict each other are reported.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from nsinit.config.decode import decode
from nsinit.config.model import Restart, Sandbox, ServiceConfig
from nsinit.config.report import Place
from nsinit.config.substitute import substitute
from nsinit.config.syntax import kind

Table = Mapping[str, object]


def read_service(name: str, path: str, table: Table, place: Place, environ: Mapping[str, str]) -> ServiceConfig:
    """The service that a file's table describes; what is wrong with it goes to the report."""
    table = _with_init_on_top(table, place)
    config = decode(ServiceConfig, table, place, root=ServiceConfig, name=name, path=path)
    return replace(
        config,
        env=_environment(config, place, environ),
        restart=_restart(config, _subtable(table, "restart"), place),
        sandbox=_sandbox(config, _subtable(table, "sandbox"), place.key("sandbox")),
    )


def _with_init_on_top(table: Table, place: Place) -> Table:
    """The table with `init` in its place, also where a file spells it `sandbox.init`."""
    sandbox = _subtable(table, "sandbox")
    if "init" not in sandbox:
        return table
    given, here = sandbox["init"], place.key("sandbox", "init")
    moved: dict[str, object] = {**table, "sandbox": {key: value for key, value in sandbox.items() if key != "init"}}
    if "init" in table:
        here.error("init is given twice: keep the one at the top of the file")
    elif not isinstance(given, bool):
        here.error(f"expected true or false, but it is {kind(given)}")
    else:
        moved["init"] = given
    return moved


def _subtable(table: Table, key: str) -> Table:
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def _environment(config: ServiceConfig, place: Place, environ: Mapping[str, str]) -> dict[str, str]:
    env = {name: environ[name] for name in config.pass_env if name in environ}
    for key, value in config.env.items():
        try:
            env[key] = substitute(value, config.name, config.pass_env, environ)
        except ValueError as error:
            place.key("env", key).error(str(error))
    return env


def _restart(config: ServiceConfig, table: Table, place: Place) -> Restart:
    restart = config.restart
    if restart.max_delay_s < restart.delay_s:
        key = "max_delay" if "max_delay" in table else "delay"
        place.key("restart", key).error("max_delay must not be shorter than delay")
    if config.type != "oneshot":
        return restart
    if "policy" not in table:
        return replace(restart, policy="no")
    if restart.policy == "always":
        place.key("restart", "policy").error(
            'a oneshot that always restarts never completes: use "on-failure", or type = "simple"'
        )
    return restart


def _sandbox(config: ServiceConfig, table: Table, place: Place) -> Sandbox:
    sandbox = config.sandbox
    hostname = sandbox.hostname or config.name
    for key, namespace in _needs(table):
        if namespace not in sandbox.unshare:
            place.key(key).error(f'it needs a {namespace} namespace: add "{namespace}" to sandbox.unshare')
    sandbox = replace(sandbox, hostname=hostname, unshare_given="unshare" in table)
    if "mount" not in sandbox.unshare:
        return replace(sandbox, read_only=False, proc=False, tmpfs=(), binds=())
    if "proc" not in table:
        # Without pid namespace and rootfs the outer /proc is there, and is the right one.
        return replace(sandbox, proc="pid" in sandbox.unshare or bool(sandbox.rootfs))
    return sandbox


def _needs(table: Table) -> list[tuple[str, str]]:
    """The keys that a file gives and that ask for something only a namespace makes possible."""
    keys = [(key, "mount") for key in ("rootfs", "read_only", "binds", "tmpfs", "proc") if table.get(key)]
    return keys + ([("hostname", "uts")] if "hostname" in table else [])
