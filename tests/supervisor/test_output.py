"""Lines are captured whole and kept; a slow or dead console costs nobody anything but its own lines."""

import fcntl
import json
import os
import tty
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from nsinit.supervisor.model import LogLine
from nsinit.supervisor.output import Capture, Console, Journal, console_renderer


class Reader:
    """A pipe or a terminal, whose other end is read when the test wants it."""

    def __init__(self, terminal: bool) -> None:
        self.read_fd, self.write_fd = os.openpty() if terminal else os.pipe()
        if terminal:
            tty.setraw(self.write_fd)

    def close(self) -> None:
        for descriptor in (self.read_fd, self.write_fd):
            try:
                os.close(descriptor)
            except OSError:
                pass  # the test has closed it

    async def read_until(self, ending: bytes) -> bytes:
        content = b""
        while not content.endswith(ending):
            await trio.lowlevel.wait_readable(self.read_fd)
            content += os.read(self.read_fd, 65536)
        return content


@pytest.fixture(params=["pipe", "terminal"])
def reader(request: pytest.FixtureRequest) -> Iterator[Reader]:
    made = Reader(request.param == "terminal")
    yield made
    made.close()


def line(text: str, service: str = "web") -> LogLine:
    return LogLine(seq=1, time=1.5, service=service, stream="stdout", text=text)


# The console


async def test_what_is_written_arrives_in_order_and_drained_waits_for_it(reader: Reader, nursery: trio.Nursery) -> None:
    console = Console(reader.write_fd)
    await nursery.start(console.run)
    console.write("one\n")
    console.write("two ü\n")
    with trio.fail_after(20):
        await console.drained()
        assert await reader.read_until("ü\n".encode()) == "one\ntwo ü\n".encode()


async def test_a_reader_that_does_not_read_holds_nobody_up_and_hears_what_it_missed(
    reader: Reader, nursery: trio.Nursery
) -> None:
    console = Console(reader.write_fd)
    await nursery.start(console.run)
    with trio.fail_after(60):
        for number in range(4000):
            console.write(f"{number:>999}\n")
            if number % 100 == 0:
                await trio.testing.wait_all_tasks_blocked()  # never returns if a write blocks
        console.write("end\n")
        content = (await reader.read_until(b"end\n")).decode()
    assert "nsinit: the console is too slow: " in content
    shown = content.count("\n") - 1
    dropped = sum(int(part.split()[0]) for part in content.split("too slow: ")[1:])
    assert shown - content.count("too slow") + 1 + dropped == 4001
    assert 1_000_000 < len(content) < 1_500_000


async def test_in_json_the_notice_of_missing_lines_is_json(nursery: trio.Nursery) -> None:
    reader = Reader(terminal=False)
    console = Console(reader.write_fd, "json")
    await nursery.start(console.run)
    for number in range(3000):
        console.write(json.dumps({"n": number, "pad": "x" * 990}) + "\n")
    console.write('"end"\n')
    with trio.fail_after(60):
        content = await reader.read_until(b'"end"\n')
    parsed = [json.loads(text) for text in content.splitlines()]
    assert [one["event"] for one in parsed[:-1] if "event" in one] == ["console.too_slow"]
    reader.close()


async def test_a_reader_that_has_gone_ends_the_console_and_nothing_else(nursery: trio.Nursery) -> None:
    reader = Reader(terminal=False)
    console = Console(reader.write_fd)
    await nursery.start(console.run)
    os.close(reader.read_fd)
    with trio.fail_after(20):
        for _ in range(3):
            console.write("nobody reads this\n")
            await console.drained()
    reader.close()


async def test_a_regular_file_is_a_console_too(tmp_path: Path, nursery: trio.Nursery) -> None:
    with open(tmp_path / "log", "ab") as file:
        console = Console(file.fileno())
        await nursery.start(console.run)
        console.write("x" * 10_000 + "\n")
        with trio.fail_after(20):
            await console.drained()
    assert (tmp_path / "log").read_text() == "x" * 10_000 + "\n"


def test_the_terminal_of_others_is_not_made_non_blocking() -> None:
    reader = Reader(terminal=True)
    Console(reader.write_fd)
    assert not fcntl.fcntl(reader.write_fd, fcntl.F_GETFL) & os.O_NONBLOCK
    reader.close()


def test_only_a_terminal_that_gets_text_gets_colours(reader: Reader) -> None:
    is_terminal = os.isatty(reader.write_fd)
    assert Console(reader.write_fd).colour == is_terminal
    assert not Console(reader.write_fd, "json").colour


class Written:
    """A console that keeps what it gets."""

    def __init__(self, colour: bool) -> None:
        self.colour = colour
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


def test_a_line_has_the_service_s_name_before_it() -> None:
    console = Written(colour=False)
    console_renderer(console, "console")(line("hello"))  # type: ignore[arg-type]
    assert console.text == "web          | hello\n"


def test_a_name_has_a_colour_of_its_own_which_ends_before_the_line() -> None:
    console = Written(colour=True)
    show = console_renderer(console, "console")  # type: ignore[arg-type]
    for name in ("a", "b", "a"):
        show(line("hello", name))
    first, second, third = console.text.splitlines()
    assert first == third
    assert first.split("m")[0] != second.split("m")[0]
    assert first.endswith("\x1b[0m | hello")


def test_in_json_a_line_is_an_object() -> None:
    console = Written(colour=False)
    console_renderer(console, "json")(line('a "b"\x1b \t'))  # type: ignore[arg-type]
    assert json.loads(console.text) == {
        "seq": 1, "time": 1.5, "service": "web", "stream": "stdout", "text": 'a "b"\x1b \t',
    }  # fmt: skip


# The journal


def test_lines_are_numbered_and_merged_in_the_order_of_their_arrival() -> None:
    shown: list[LogLine] = []
    journal = Journal(shown.append)
    for number in range(4):
        journal.add("ab"[number % 2], "stdout", b"%d" % number)
    assert [one.text for one in journal.tail("ab", None)] == ["0", "1", "2", "3"]
    assert [one.text for one in journal.tail("ab", 1)] == ["2", "3"]
    assert [one.text for one in journal.tail(["a", "unknown"], None)] == ["0", "2"]
    assert [one.seq for one in shown] == [1, 2, 3, 4]
    journal.forget("a")
    assert [one.text for one in journal.tail("ab", None)] == ["1", "3"]


async def test_a_follower_hears_of_its_services_from_now_on(nursery: trio.Nursery) -> None:
    journal = Journal(lambda _: None)
    journal.add("a", "stdout", b"before")
    async with journal.follow(["a"]) as lines:
        journal.add("b", "stdout", b"other")
        journal.add("a", "stderr", b"after")
        assert (await anext(lines)).text == "after"


async def test_a_follower_that_is_too_slow_sees_the_gap_in_the_numbers() -> None:
    journal = Journal(lambda _: None)
    async with journal.follow([]) as lines:
        for number in range(5000):
            journal.add("a", "stdout", b"%d" % number)
        received = [(await anext(lines)).seq for _ in range(4096)]
        journal.add("a", "stdout", b"last")
        assert (await anext(lines)).seq == 5001
    assert received == list(range(1, 4097))


async def test_followers_that_leave_are_forgotten() -> None:
    journal = Journal(lambda _: None)
    async with journal.follow([]):
        pass
    journal.add("a", "stdout", b"x")
    assert not journal._followers


# The pipes


@pytest.fixture
async def captured() -> AsyncIterator[tuple[Capture, list[LogLine]]]:
    shown: list[LogLine] = []
    capture = Capture("web", Journal(shown.append))
    yield capture, shown
    capture.close()


async def test_both_streams_are_read_as_they_come(
    captured: tuple[Capture, list[LogLine]], nursery: trio.Nursery
) -> None:
    capture, shown = captured
    nursery.start_soon(capture.run)
    out, err = capture.write_fds
    os.write(out, b"one\ntw")
    os.write(err, b"three\n")
    await trio.testing.wait_all_tasks_blocked()
    os.write(out, b"o\n")
    await trio.testing.wait_all_tasks_blocked()
    assert sorted((one.stream, one.text) for one in shown) == [
        ("stderr", "three"),
        ("stdout", "one"),
        ("stdout", "two"),
    ]
    nursery.cancel_scope.cancel()


async def test_what_a_run_leaves_in_the_pipe_is_taken_at_its_end_with_its_last_unfinished_line(
    captured: tuple[Capture, list[LogLine]],
) -> None:
    capture, shown = captured
    os.write(capture.write_fds[0], b"last words\nunfinished")
    capture.drain()
    os.write(capture.write_fds[0], b"successor\n")
    capture.drain()
    assert [one.text for one in shown] == ["last words", "unfinished", "successor"]


async def test_bytes_that_are_not_utf_8_and_endless_lines_arrive(captured: tuple[Capture, list[LogLine]]) -> None:
    capture, shown = captured
    os.write(capture.write_fds[0], b"\xff\xfe ok\n" + b"x" * 40_000 + b"\nnext\n")
    capture.drain()
    assert shown[0].text == "\ufffd\ufffd ok"
    assert [len(one.text) for one in shown[1:]] == [16384, 16384, 7232, 4]


async def test_a_writer_that_has_escaped_cannot_keep_the_end_of_a_run_from_coming(
    captured: tuple[Capture, list[LogLine]], monkeypatch: pytest.MonkeyPatch
) -> None:
    capture, shown = captured
    monkeypatch.setattr(os, "read", lambda fd, size: b"y\n" * (size // 2))
    capture.drain()
    assert shown
