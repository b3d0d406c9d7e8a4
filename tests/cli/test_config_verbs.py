"""check and config, which talk to no supervisor."""

import json
import tomllib
from pathlib import Path

import pytest

from nsinit.config import effective, load_project
from tests.cli.conftest import Cli


@pytest.fixture
def services(project: Path) -> Path:
    (project / "services" / "web.toml").write_text('command = ["/bin/true"]\n[stop]\ntimeout = "3s"\n')
    (project / "services" / "db.toml").write_text('command = ["/bin/true"]\nenv = { "a.b" = "x\\u007f\\"" }\n')
    return project / "services"


def test_check_counts_what_is_right(cli: Cli, services: Path) -> None:
    assert cli("check") == (0, "services: 2 services, no errors\n", "")
    assert json.loads(cli("check", "--json").out) == []


def test_check_shows_all_errors_of_all_files_and_is_exit_6(cli: Cli, services: Path) -> None:
    (services / "web.toml").write_text('comand = ["x"]\n')
    (services / "db.toml").write_text('command = ["x"]\n\ntype = 1\n')
    status, out, err = cli("check")
    assert (status, out) == (6, "")
    lines = err.splitlines()
    assert any(line.startswith("services/web.toml:1: ") for line in lines)
    assert any(line.startswith("services/db.toml:3: ") for line in lines)
    outcome = cli("check", "--json")
    assert outcome.status == 6
    entries = json.loads(outcome.out)
    assert len(entries) == len(lines)
    assert {"file", "line", "text"} == set(entries[0])
    assert ("services/db.toml", 3) in [(entry["file"], entry["line"]) for entry in entries]


@pytest.mark.parametrize(
    "arguments", [["services"], ["-C", "services"], ["-C", "../shop"], ["-C", "../shop", "services"]]
)
def test_the_directory_is_found_from_everywhere(cli: Cli, services: Path, arguments: list[str]) -> None:
    assert cli("check", *arguments).status == 0


def test_inside_the_directory_no_word_is_needed(cli: Cli, services: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(services)
    assert cli("check").status == 0


def test_a_directory_without_service_files_is_exit_6_and_its_own_toml_files_are_not_read(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    status, _, err = cli("check")
    assert status == 6
    assert err.startswith("nsinit: cannot read the directory services: ENOENT")


def test_config_prints_files_that_load_as_the_same_services(cli: Cli, services: Path, tmp_path: Path) -> None:
    status, out, _ = cli("config")
    assert status == 0
    outer, *files = out.split("\n# ")
    assert outer.startswith(f"# {services}/nsinit.toml, supervisor shop\n")
    printed = tmp_path / "printed" / "services"
    printed.mkdir(parents=True)
    for text in files:
        path, _, content = text.partition("\n")
        (printed / Path(path).name).write_text(content)
    assert _services(printed) == _services(services)


def test_config_json_is_one_object_with_every_default(cli: Cli, services: Path) -> None:
    whole = json.loads(cli("config", "--json").out)
    assert whole["name"] == "shop"
    assert whole["services"]["web"]["stop"]["timeout"] == "3s"
    assert whole["services"]["web"]["restart"]["policy"] == "always"


def test_config_is_toml(cli: Cli, services: Path) -> None:
    _, *files = cli("config").out.split("\n# ")
    tables = [tomllib.loads(text.partition("\n")[2]) for text in files]
    assert tables[0]["env"] == {"a.b": 'x\x7f"'}


def _services(directory: Path) -> dict[str, dict[str, object]]:
    services = effective(load_project(str(directory), {}))["services"]
    return {name: {**service, "path": None} for name, service in services.items()}
