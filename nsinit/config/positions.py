"""Where the keys of a TOML text are, for error messages.

tomllib gives values without positions. tree-sitter's TOML grammar gives a syntax tree with them, survives texts it
does not understand, and is only imported once there is an error to report.
"""

import tomllib
from collections.abc import Iterator

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

Path = tuple[str, ...]

# No table of a service file is nested deeper; a key of a thousand dots must not cost a million entries.
_MAX_DEPTH = 8


class Positions:
    """The lines of a text's keys.

    A path is the keys from the root; the elements of arrays of tables share their path, and the first counts.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[Path, int] = {}
        tree = Parser(Language(tree_sitter_toml.language())).parse(text.encode("utf-8", "surrogatepass"))
        for node in tree.root_node.named_children:
            if node.type in ("table", "table_array_element"):
                self._add_table(node)
            elif node.type == "pair":
                self._add_pair((), node)

    def line(self, path: Path) -> int:
        """The line (from 1) of a key; of its nearest known table where the key itself is not in the text."""
        for length in range(min(len(path), _MAX_DEPTH), 0, -1):
            if line := self._lines.get(path[:length]):
                return line
        return 1

    def _add_table(self, node: Node) -> None:
        table: Path | None = None
        for child in node.named_children:
            if child.type == "pair" and table is not None:
                self._add_pair(table, child)
            elif table is None:
                table = self._add_key((), child)

    def _add_pair(self, table: Path, pair: Node) -> None:
        children = pair.named_children
        if not children:
            return  # a broken text
        path = self._add_key(table, children[0])
        if children[-1].type == "inline_table" and len(path) < _MAX_DEPTH:
            for child in children[-1].named_children:
                if child.type == "pair":
                    self._add_pair(path, child)

    def _add_key(self, table: Path, node: Node) -> Path:
        path = table
        for part in _parts(node):
            if len(path) == _MAX_DEPTH:
                break
            path = (*path, _name(part))
            self._lines.setdefault(path, part.start_point.row + 1)
        return path


def _parts(node: Node) -> Iterator[Node]:
    """The parts of a dotted key from left to right; a grammar nests them to the left."""
    pending = [node]
    while pending:
        part = pending.pop()
        if part.type == "dotted_key":
            pending.extend(reversed(part.named_children))
        elif part.type in ("bare_key", "quoted_key"):
            yield part


def _name(part: Node) -> str:
    text = (part.text or b"").decode("utf-8", "replace")
    if part.type == "bare_key":
        return text
    try:
        return next(iter(tomllib.loads(f"{text} = 0")))
    except tomllib.TOMLDecodeError:
        return text
