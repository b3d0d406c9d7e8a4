"""All errors of a directory, collected while it is read, each with its file and line."""

from nsinit.errors import InvalidConfig

# Enough for every sentence here; a value of a megabyte is not repeated whole.
_MAX_TEXT = 400


class Source:
    """A file that was read: its name as the user knows it, and its text ("" when it can't be read)."""

    __slots__ = ("name", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text


class Report:
    """The errors so far. Lines of keys are looked up at the end, and only when there are errors."""

    def __init__(self) -> None:
        self._errors: list[tuple[Source, tuple[str, ...] | int, str]] = []

    def add(self, source: Source, where: tuple[str, ...] | int, text: str) -> None:
        """An error at a key's path, or at a line."""
        self._errors.append((source, where, text))

    def check(self) -> None:
        """Raise all errors at once, sorted by file and line, if there are any.

        Raises:
            InvalidConfig: one line an error, `FILE:LINE: TEXT`.
        """
        if self._errors:
            located = [(source.name, line, text) for source, line, text in self._located()]
            unique = dict.fromkeys(sorted(located, key=lambda error: error[:2]))
            raise InvalidConfig("\n".join(f"{visible(name)}:{line}: {text}" for name, line, text in unique))

    def _located(self) -> list[tuple[Source, int, str]]:
        from nsinit.config.positions import Positions  # costs an import of tree-sitter

        positions: dict[Source, Positions] = {}
        located = []
        for source, where, text in self._errors:
            if not isinstance(where, int):
                if source not in positions:
                    positions[source] = Positions(source.text)
                where = positions[source].line(where)
            located.append((source, where, shorten(text)))
        return located


class Place:
    """A key of a file, to which errors can be added."""

    __slots__ = ("path", "report", "source")

    def __init__(self, report: Report, source: Source, path: tuple[str, ...] = ()) -> None:
        self.report = report
        self.source = source
        self.path = path

    def key(self, *keys: str) -> "Place":
        """The place of a key below this one."""
        return Place(self.report, self.source, self.path + keys)

    def error(self, text: str) -> None:
        """Add an error; the text follows the key's full name."""
        prefix = ".".join(map(key_name, self.path))
        self.report.add(self.source, self.path, f"{prefix}: {text}" if prefix else text)


def key_name(key: str) -> str:
    """A key as TOML writes it."""
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if bare else repr(key)


def visible(text: str) -> str:
    """`text` on one line, whatever bytes a file's name is made of."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def shorten(text: str) -> str:
    """`text`, without the middle when it is very long."""
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT // 2]} ... {text[-_MAX_TEXT // 2 :]}"
