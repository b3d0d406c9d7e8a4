from collections.abc import Callable

import pytest

Errors = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("env = 1", "env: expected a table, but it is an integer"),
        ("env.A = 1", "env.A: expected the value of a variable (a string), but it is an integer"),
        ("env.A = 2020-01-01", "env.A: expected the value of a variable (a string), but it is a date or time"),
        ('env."A=" = "1"', "env.'A=': 'A=' is not a name for a variable: it must not be empty nor contain '=' or NUL"),
        ("pass_env = 'A'", "pass_env: expected a list of names of variables, but it is a string"),
        ("working_dir = 'srv'", "working_dir: 'srv' is not an absolute path: it must begin with /"),
        ("user = 4294967295", "user: id 4294967295 is out of range: ids are 0 to 4294967294"),
        (
            "startup = 'on'",
            'startup: expected one of "enabled", "disabled", but it is \'on\'',
        ),
        ("type = 1", 'type: expected one of "simple", "oneshot", but it is an integer'),
        ("type = ['simple']", 'type: expected one of "simple", "oneshot", but it is a list'),
        ("after = 'db'", "after: expected a list of names of services, but it is a string"),
        ("depends_on = ['db']", "depends_on: expected a table, but it is a list"),
        ("depends_on.web2 = true", "depends_on.web2: expected a table, but it is a boolean"),
        ("sandbox = []", "sandbox: expected a table, but it is a list"),
        ("sandbox.proc = 1", "sandbox.proc: expected true or false, but it is an integer"),
        ("sandbox.init = 'no'", "sandbox.init: expected true or false, but it is a string"),
        ("sandbox.hostname = 'a b'", None),
        ("restart.factor = 0.5", "restart.factor: 0.5 is out of range: it must be 1 to 1000"),
        ("restart.factor = nan", "restart.factor: nan is out of range: it must be 1 to 1000"),
        ("restart.jitter = true", "restart.jitter: expected a number, but it is a boolean"),
        ("restart.limit = -1", "restart.limit: it is out of range: it must be 0 to 1000000"),
        ("restart.limit = 1.0", "restart.limit: expected a whole number, but it is a float"),
        ("restart.prevent_exit_codes = [256]", None),
        ("stop.signal = 'KIL'", 'stop.signal: there is no signal \'KIL\': write a name, as in "TERM" or "SIGINT"'),
        ("stop.timeout = 10", 'stop.timeout: 10 has no unit: write a duration as in "10s"'),
        ("readiness.timeout = '1 min'", None),
    ],
)
def test_a_wrong_value_is_reported_with_its_line_and_what_is_right(errors: Errors, line: str, text: str | None) -> None:
    [error] = errors(f'\ncommand = "a"\n{line}\n')
    key = line.partition(" = ")[0]
    assert error == f"services/web.toml:3: {text}" if text else error.startswith(f"services/web.toml:3: {key}: ")


def test_a_missing_command_is_reported(errors: Errors) -> None:
    assert errors("user = 'root'\n") == ["services/web.toml:1: the key 'command' is missing"]


def test_a_wrong_command_is_not_also_missing(errors: Errors) -> None:
    assert errors("\ncommand = 1") == [
        "services/web.toml:2: command: expected a list of arguments, or one string, but it is an integer"
    ]


def test_all_wrong_keys_of_a_file_are_reported_in_their_order(errors: Errors) -> None:
    text = "umask = '9'\n[sandbox]\nunshare = ['x']\nfoo = 1\n[stop]\ntimeout = '1'\n[depends_on.no]\nrequired = 1\n"
    assert [error.split(" ")[:2] for error in errors(text)] == [
        ["services/web.toml:1:", "umask:"],
        ["services/web.toml:1:", "the"],
        ["services/web.toml:3:", "sandbox.unshare:"],
        ["services/web.toml:4:", "sandbox.foo:"],
        ["services/web.toml:6:", "stop.timeout:"],
        ["services/web.toml:7:", "depends_on.no:"],
        ["services/web.toml:8:", "depends_on.no.required:"],
    ]
