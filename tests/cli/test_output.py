import os
import sys

import pytest

from nsinit.cli import output


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0s"),
        (0.9, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (61, "1m 1s"),
        (3600, "1h"),
        (3661, "1h 1m"),
        (86400, "1d"),
        (93784, "1d 2h"),
        (86405, "1d 5s"),
    ],
)
def test_durations_have_two_units(seconds: float | None, text: str) -> None:
    assert output.duration(seconds) == text


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "in_terminal", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(output.shutil, "get_terminal_size", lambda: os.terminal_size((20, 10)))
    # click strips colour from what is no terminal; the tests' standard output is none.
    monkeypatch.setattr(output.click, "echo", lambda text: sys.stdout.write(f"{text}\n"))


ROWS = [("db", "ready", "a reason that is longer than the line")]


def test_a_pipe_gets_everything_and_no_colour(capsys: pytest.CaptureFixture[str]) -> None:
    output.echo_table(("NAME", "STATE", "REASON"), ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "NAME  STATE  REASON",
        "db    ready  a reason that is longer than the line",
    ]


@pytest.mark.usefixtures("terminal")
def test_a_terminal_gets_colour_and_lines_that_fit(capsys: pytest.CaptureFixture[str]) -> None:
    output.echo_table(("NAME", "STATE", "REASON"), ROWS)
    header, row = capsys.readouterr().out.splitlines()
    assert header == "NAME  STATE  REASON"
    assert row == "db    \x1b[32mready\x1b[0m  a reas…"
    assert len(row.replace("\x1b[32m", "").replace("\x1b[0m", "")) == 20


@pytest.mark.usefixtures("terminal")
def test_no_color_is_respected(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    output.echo_table(("NAME", "STATE"), [("db", "failed")])
    assert "\x1b" not in capsys.readouterr().out


def test_an_empty_table_is_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    output.echo_table(("NAME", "PID"), [])
    assert capsys.readouterr().out == "NAME  PID\n"
