"""Every key of a service file is either a field of the model or refused by name; anything else is unknown."""

from collections.abc import Callable

import pytest

Errors = Callable[..., list[str]]

NOT_BUILT = [
    'directory = "sub"',
    'pre_start = ["a"]',
    'post_stop = ["a"]',
    'group = "www"',
    "supplementary_groups = []",
    "replicas = 1",
    'env_file = ["/x"]',
    "nice = 0",
    "oom_score_adj = 0",
    "tty = false",
    'reload_signal = "HUP"',
    "conflicts = []",
    'secrets.db.file = "/x"',
    "readiness.fd = 3",
    'readiness.pattern = ""',
    'health.live.tcp = "localhost:1"',
    'watchdog.timeout = "0s"',
    "stop.command = []",
    'stop.drain = "0s"',
    'socket = [{ name = "http" }]',
    'logs.ring = "1M"',
    "resources.required = true",
    'sandbox.join = { net = "db" }',
    "sandbox.overlay = true",
    'sandbox.dev = "minimal"',
    'sandbox.uid_map = "same"',
    'sandbox.gid_map = "same"',
    "sandbox.capabilities = []",
    "sandbox.no_new_privs = true",
    'sandbox.seccomp = "off"',
    "sandbox.landlock = []",
    'sandbox.time_offset = { boottime = "1d" }',
    'sandbox.masked = "default"',
    'network = [{ name = "front" }]',
    'schedule.every = "24h"',
]


@pytest.mark.parametrize("line", NOT_BUILT)
def test_a_key_that_is_not_built_is_refused_by_name(errors: Errors, line: str) -> None:
    key = line.split(" = ")[0]
    [error] = errors(f'command = "a"\n{line}\n')
    name, _, text = error.removeprefix("services/web.toml:2: ").partition(": ")
    assert key == name or key.startswith(f"{name}.")
    assert text == "not supported yet"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('type = "group"', "group"),
        ('type = "supervisor"', "supervisor"),
        ('depends_on.db.condition = "healthy"', "healthy"),
        ('readiness.method = "fd"', "fd"),
        ('readiness.method = "log"', "log"),
        ('readiness.method = "health"', "health"),
    ],
)
def test_a_value_that_is_not_built_is_refused_by_name(errors: Errors, line: str, value: str) -> None:
    files = {"web.toml": f'command = "a"\n{line}\n', "db.toml": 'command = "db"'}
    assert errors(files) == [f"services/web.toml:2: {line.split()[0]}: '{value}' is not supported yet"]


@pytest.mark.parametrize(
    "line",
    ['sandbox.uplink = "none"', 'sandbox.rootfs = "/r"', "sandbox.binds = []", 'supervisor.state_dir = "/x"'],
)
def test_a_key_of_nsinit_toml_that_is_not_built_is_refused_by_name(errors: Errors, line: str) -> None:
    assert errors({"nsinit.toml": line, "web.toml": 'command = "a"'}) == [
        f"services/nsinit.toml:1: {line.split()[0]}: not supported yet"
    ]


def test_networks_are_refused_by_name(errors: Errors) -> None:
    assert errors({"nsinit.toml": "[network.front]\nnat = true", "web.toml": 'command = "a"'}) == [
        "services/nsinit.toml:1: network: not supported yet"
    ]


@pytest.mark.parametrize(
    ("line", "key", "nearest"),
    [
        ("comand = 1", "comand", "command"),
        ("restart.polcy = 1", "restart.polcy", "policy"),
        ("env_fil = 1", "env_fil", "env_file"),
        ("unshare = []", "unshare", "sandbox.unshare"),
        ("stop.init = false", "stop.init", "init, at the top of the file"),
        ("restart.user = 1", "restart.user", "user, at the top of the file"),
        ("sandbox.policy = 1", "sandbox.policy", "restart.policy"),
        ("zzz = 1", "zzz", None),
        ("name = 'x'", "name", None),
        ("path = 'x'", "path", None),
        ("sandbox.unshare_given = true", "sandbox.unshare_given", "unshare"),
        ("readiness.timeout_s = 1.0", "readiness.timeout_s", "timeout"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_key(
    errors: Errors, line: str, key: str, nearest: str | None
) -> None:
    [error] = errors(f'command = "a"\n\n{line}\n')
    start = f"services/web.toml:3: {key}: unknown key, the nearest known key is "
    assert error.startswith(start)
    assert error == start + nearest if nearest else len(error) > len(start)
