import subprocess
import sys

import pytest

from nsinit.config.report import Place, Report, Source
from nsinit.errors import InvalidConfig


def lines(report: Report) -> list[str]:
    with pytest.raises(InvalidConfig) as caught:
        report.check()
    return str(caught.value).split("\n")


def test_a_report_without_errors_raises_nothing() -> None:
    Report().check()


def test_errors_are_sorted_by_file_and_by_line_as_a_number() -> None:
    report = Report()
    b, a = Source("b.toml", "x = 1\n"), Source("a.toml", "\n" * 9 + "y = 1\nz = 1\n")
    report.add(b, ("x",), "first")
    report.add(a, ("z",), "fourth")
    report.add(a, 2, "second")
    report.add(a, ("y",), "third")
    assert lines(report) == ["a.toml:2: second", "a.toml:10: third", "a.toml:11: fourth", "b.toml:1: first"]


def test_an_error_that_is_found_twice_is_told_once() -> None:
    report = Report()
    place = Place(report, Source("a.toml", "x = 1"), ("x",))
    place.error("wrong")
    place.error("wrong")
    assert lines(report) == ["a.toml:1: x: wrong"]


def test_the_text_follows_the_keys_full_name_with_odd_keys_quoted() -> None:
    report = Report()
    Place(report, Source("a.toml", "")).key("depends_on", "d b").key("restart").error("wrong")
    assert lines(report) == ["a.toml:1: depends_on.'d b'.restart: wrong"]


def test_an_error_is_one_line_whatever_the_file_is_called() -> None:
    report = Report()
    report.add(Source("a\n\udcff\x1b.toml", ""), 1, "wrong")
    assert lines(report) == ["a\\n\\udcff\\x1b.toml:1: wrong"]


def test_an_endless_value_is_not_repeated_whole() -> None:
    report = Report()
    report.add(Source("a.toml", ""), 1, "begin" + "x" * 1_000_000 + "end")
    [line] = lines(report)
    assert len(line) < 500
    assert line.startswith("a.toml:1: beginx")
    assert line.endswith("xend")


def test_tree_sitter_is_not_imported_before_there_is_an_error() -> None:
    code = "import sys, nsinit.config; print([name for name in sys.modules if name.startswith('tree_sitter')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
