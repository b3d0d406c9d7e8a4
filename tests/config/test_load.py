import importlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from nsinit.config import (
    Dependency,
    OuterSandbox,
    Project,
    Readiness,
    Restart,
    Sandbox,
    ServiceConfig,
    Stop,
    SupervisorConfig,
    default_name,
    load_project,
)
from nsinit.config.load import MAX_FILE_BYTES
from nsinit.config.supported import ProjectFile, file_keys
from nsinit.config.syntax import parse_name
from nsinit.errors import InvalidConfig

Load = Callable[..., Project]
Errors = Callable[..., list[str]]
Write = Callable[[dict[str, str | bytes]], str]

COMMAND = 'command = "/bin/true"\n'


def test_every_toml_file_is_a_service_by_its_name_in_order(load: Load, tmp_path: Path) -> None:
    project = load({"web.toml": COMMAND, "db.toml": COMMAND, "README.md": "x", ".#web.toml": "=", "web.toml~": "="})
    assert list(project.services) == ["db", "web"]
    assert project.directory == str(tmp_path / "services")
    assert project.services["db"].path == str(tmp_path / "services" / "db.toml")


def test_services_are_sorted_by_name_whatever_the_directorys_order(load: Load) -> None:
    names = [f"s{number:02}" for number in range(30)]
    assert list(load({f"{name}.toml": COMMAND for name in reversed(names)}).services) == names


def test_without_nsinit_toml_the_outer_sandbox_has_its_defaults(load: Load, tmp_path: Path) -> None:
    project = load({"web.toml": COMMAND})
    assert project.sandbox == OuterSandbox(hostname="nsinit", rootfs="")
    assert project.supervisor == SupervisorConfig(name=project.name, log_format="console", exit_when="never")


def test_nsinit_toml_is_about_the_outside_and_no_service(load: Load) -> None:
    text = '[sandbox]\nhostname = "box"\n[supervisor]\nname = "shop"\nlog_format = "json"\nexit_when = "all-stopped"\n'
    project = load({"nsinit.toml": text, "web.toml": COMMAND})
    assert list(project.services) == ["web"]
    assert project.name == "shop"
    assert project.sandbox.hostname == "box"
    assert project.supervisor == SupervisorConfig(name="shop", log_format="json", exit_when="all-stopped")


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("/srv/shop", "shop"),
        ("/srv/shop/", "shop"),
        ("/srv/shop/services", "shop"),
        ("/srv/My Shop!/services/", "My-Shop"),
        ("/services", "nsinit"),
        ("/", "nsinit"),
        ("/srv/...", "nsinit"),
        ("/srv/-x", "x"),
        ("/srv/" + "x" * 100, "x" * 64),
    ],
)
def test_a_project_is_called_as_its_directory_or_the_parent_of_services(directory: str, name: str) -> None:
    assert default_name(directory) == name


@given(st.text(st.characters(blacklist_characters="/\0")))
def test_a_directory_of_any_name_gives_a_valid_name(name: str) -> None:
    parse_name(default_name(f"/srv/{name}"))


def test_a_project_in_the_working_directory_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "web.toml").write_text(COMMAND)
    monkeypatch.chdir(tmp_path / "shop")
    assert load_project(".", {}).name == "shop"


@pytest.mark.parametrize(("name", "reason"), [("nowhere", "ENOENT"), ("file", "ENOTDIR")])
def test_a_directory_that_cannot_be_read_is_an_error(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidConfig, match=f"cannot read the directory .*{reason}"):
        load_project(f"{tmp_path}/{name}", {})


def test_a_directory_without_services_is_an_error(errors: Errors) -> None:
    [error] = errors({"nsinit.toml": "", "README": ""})
    assert error.startswith("the directory services has no service files: write one, as in web.toml")


def test_errors_of_all_files_are_reported_at_once_sorted_by_file_and_line(errors: Errors) -> None:
    files = {
        "web.toml": "command = 1\n" + "\n" * 8 + "user = -1\nuser_ = 1\n",
        "db.toml": "command = 'a'\nfoo = 1\n",
        "nsinit.toml": "bar = 1",
        "api.toml": "command = 'a'\nafter = ['x']",
        "good.toml": COMMAND,
    }
    assert [error.split(": ")[:2] for error in errors(files)] == [
        ["services/api.toml:2", "after"],
        ["services/db.toml:2", "foo"],
        ["services/nsinit.toml:1", "bar"],
        ["services/web.toml:1", "command"],
        ["services/web.toml:10", "user"],
        ["services/web.toml:11", "user_"],
    ]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a = 1\nb = = 2\n", 2, "Invalid value at column 5"),
        ("a = 1\na = 2\n", 2, "Cannot overwrite a value at column 6"),
        ('a = 1\nb = """\n\n', 3, "at its end"),
        ("a = [\n1,\n", 2, "at its end"),
        ("a = " + "9" * 5000, 1, "the file is not TOML"),
        ("a = " + "[" * 5000, 1, "nested too deeply"),
        ("\n\n[x]\n[x]\n", 4, "Cannot declare"),
    ],
)
def test_a_file_that_is_not_toml_is_reported_with_its_line(errors: Errors, text: str, line: int, message: str) -> None:
    [error] = errors({"web.toml": text})
    assert error.startswith(f"services/web.toml:{line}: ")
    assert message in error


def test_a_file_that_is_not_utf8_is_reported_with_the_line_of_the_byte(errors: Errors) -> None:
    assert errors({"web.toml": b"# a\n# b\xff\n"}) == ["services/web.toml:2: the file is not UTF-8, as TOML must be"]


@pytest.mark.parametrize("name", ["a b", "ä", "-a", "a@b", "x" * 65])
def test_a_file_whose_name_is_no_services_name_is_refused(errors: Errors, name: str) -> None:
    [error] = errors({f"{name}.toml": COMMAND})
    assert error.startswith(f"services/{name}.toml:1: the file's name is the service's: '{name}' is not a valid name")


def test_templates_are_not_supported_yet(errors: Errors) -> None:
    assert errors({"web@.toml": COMMAND}) == ["services/web@.toml:1: templates (NAME@.toml) are not supported yet"]


def test_a_file_name_that_is_not_utf8_is_reported_printably(write: Write) -> None:
    Path(os.fsdecode(os.fsencode(write({})) + b"/\xff\n.toml")).write_text(COMMAND)
    with pytest.raises(InvalidConfig) as caught:
        load_project("services", {})
    assert str(caught.value).isprintable()
    assert str(caught.value).startswith("services/\\udcff\\n.toml:1: the file's name")


def test_what_is_no_regular_file_is_refused_and_never_waited_for(write: Write) -> None:
    directory = write({"web.toml": COMMAND})
    os.mkfifo(f"{directory}/fifo.toml")
    Path(directory, "directory.toml").mkdir()
    Path(directory, "link.toml").symlink_to("nowhere")
    Path(directory, "null.toml").symlink_to("/dev/null")
    with pytest.raises(InvalidConfig) as caught:
        load_project(directory, {})
    assert str(caught.value).split("\n") == [
        "services/directory.toml:1: cannot read the file: EINVAL: it must be a regular file",
        "services/fifo.toml:1: cannot read the file: EINVAL: it must be a regular file",
        "services/link.toml:1: cannot read the file: ENOENT: it is a link to nothing",
        "services/null.toml:1: cannot read the file: EINVAL: it must be a regular file",
    ]


def test_a_file_behind_a_link_is_read(write: Write) -> None:
    directory = write({"web.conf": COMMAND})
    Path(directory, "web.toml").symlink_to("web.conf")
    assert list(load_project(directory, {}).services) == ["web"]


def test_a_file_without_permission_is_reported_with_the_others(write: Write, tmp_path: Path) -> None:
    directory = write({"a.toml": COMMAND, "b.toml": "command = 1"})
    tmp_path.chmod(0o755)
    Path(directory, "a.toml").chmod(0)
    importlib.import_module("nsinit.config.positions")  # now: another user may not read the interpreter's files
    uid = os.geteuid()
    if uid == 0:
        os.seteuid(65534)  # root may read everything
    try:
        with pytest.raises(InvalidConfig) as caught:
            load_project(directory, {})
        assert str(caught.value).split("\n") == [
            f"services/a.toml:1: cannot read the file: EACCES: make it readable for uid {os.geteuid()}",
            "services/b.toml:1: command: expected a list of arguments, or one string, but it is an integer",
        ]
    finally:
        os.seteuid(uid)


def test_a_huge_file_is_refused(write: Write) -> None:
    directory = write({"web.toml": COMMAND + "#" * MAX_FILE_BYTES})
    with pytest.raises(InvalidConfig, match=r"EFBIG: a service file has at most 1048576 bytes"):
        load_project(directory, {})


def test_no_descriptor_is_left_open(write: Write) -> None:
    directory = write({"web.toml": COMMAND, "bad.toml": "="})
    Path(directory, "directory.toml").mkdir()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(InvalidConfig):
        load_project(directory, {})
    assert os.listdir("/proc/self/fd") == before


@settings(deadline=None)
@given(data=st.binary() | st.text().map(str.encode))
def test_any_bytes_load_or_are_an_invalid_config(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    directory = tmp_path_factory.mktemp("any")
    (directory / "web.toml").write_bytes(data)
    (directory / "nsinit.toml").write_bytes(data)
    load_or_refuse(directory)


TABLES: list[type[Struct]] = [
    ProjectFile,
    OuterSandbox,
    SupervisorConfig,
    ServiceConfig,
    Dependency,
    Readiness,
    Restart,
]
TABLES += [Sandbox, Stop]
KEYS = sorted({"web", "health", *(key for table in TABLES for key in file_keys(table))})
TEXTS = ["", "web", "/", "/a:/b:ro", "simple", "oneshot", "always", "10s", "99999999d", "TERM", "%n", "%", "${A}", "'"]

keys = st.sampled_from(KEYS) | st.text(st.characters(blacklist_categories=["Cs"]))
texts = st.sampled_from(TEXTS) | st.text(st.characters(blacklist_categories=["Cs"]))
scalars = st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)


@settings(deadline=None)
@given(table=st.dictionaries(keys, values, max_size=6))
def test_any_values_load_or_are_an_invalid_config(
    tmp_path_factory: pytest.TempPathFactory, toml: Callable[[dict[str, object]], str], table: dict[str, object]
) -> None:
    directory = tmp_path_factory.mktemp("any")
    (directory / "web.toml").write_text(toml(table))
    (directory / "nsinit.toml").write_text(toml(table))
    assert "is not TOML" not in load_or_refuse(directory)


def load_or_refuse(directory: Path) -> str:
    try:
        load_project(str(directory), {"A": "a"})
    except InvalidConfig as error:
        for line in str(error).split("\n"):
            path, number, _ = line.removeprefix(f"{directory}/").split(":", 2)
            assert path in ("web.toml", "nsinit.toml")
            assert int(number) >= 1
        return str(error)
    return ""
