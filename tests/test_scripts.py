import re
import subprocess
import sys

import pytest

from tests.support.installation import ROOT

SCRIPTS = [".ci/run", "contrib/setup", "contrib/setup-and-run", "contrib/setup-and-test"]


def setup(tmp_path, python):
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": str(python), "VENV": str(tmp_path / "venv")}
    return subprocess.run([ROOT / "contrib/setup"], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_can_be_run_and_parsed(script):
    path = ROOT / script
    assert path.stat().st_mode & 0o111 == 0o111
    shell = re.match("#!.*?(bash|sh)$", path.read_text().splitlines()[0])[1]
    subprocess.run([shell, "-n", path], check=True)


def test_both_commands_of_the_readme_are_there_and_ci_runs_the_second():
    commands = re.findall(r"^    (contrib/\S+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert commands == ["contrib/setup-and-run", "contrib/setup-and-test"]
    assert commands[1] in (ROOT / ".ci/run").read_text()


def test_setting_up_without_a_python_names_what_was_tried(tmp_path):
    result = setup(tmp_path, "/no/python3")
    assert result.returncode == 1
    assert "no CPython 3.11 or newer found (tried: /no/python3)" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_setting_up_without_the_venv_module_names_the_package(tmp_path):
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    result = setup(tmp_path, python)
    assert result.returncode == 1
    assert "has no venv module: apt-get install python3-venv" in result.stderr
    assert list(tmp_path.iterdir()) == [python]
