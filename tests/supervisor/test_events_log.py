"""The supervisor's own events, as a console and as a machine read them."""

import json
from collections.abc import Iterator

import pytest
import structlog

from nsinit.supervisor import events_log


class FakeConsole:
    """Keeps what is written."""

    def __init__(self, colour: bool) -> None:
        self.colour = colour
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("NSINIT_DEBUG", raising=False)
    yield
    structlog.reset_defaults()


def written(log_format: str, colour: bool = False, **values: object) -> str:
    console = FakeConsole(colour)
    events_log.configure(console, log_format)  # type: ignore[arg-type]
    structlog.get_logger().bind(service="web").warning("service.backoff", **values)
    return console.text


def test_json_is_one_object_a_line_with_everything_in_it() -> None:
    text = written("json", reason="two\nlines, \udcff and ü")
    assert text.count("\n") == 1
    event = json.loads(text)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "service.backoff", "level": "warning", "service": "web", "reason": "two\nlines, \udcff and ü",
    }  # fmt: skip


def test_the_console_has_one_line_an_event_and_colours_only_in_a_terminal() -> None:
    plain, coloured = written("console", reason="two\nlines"), written("console", colour=True, reason="x")
    assert plain.count("\n") == 1
    assert "\x1b" not in plain
    assert "service.backoff" in plain
    assert "\x1b[" in coloured


def _bug(log_format: str) -> str:
    console = FakeConsole(False)
    events_log.configure(console, log_format)  # type: ignore[arg-type]
    try:
        raise ExceptionGroup("tasks", [KeyError("web")])
    except ExceptionGroup as group:
        structlog.get_logger().error("control.bug", exc_info=group)
    return console.text


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_bug_is_one_line_without_a_traceback(log_format: str) -> None:
    text = _bug(log_format)
    assert text.count("\n") == 1
    assert "KeyError" in text
    assert "Traceback" not in text


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NSINIT_DEBUG", "1")
    assert "Traceback" in json.loads(_bug("json"))["exception"]
