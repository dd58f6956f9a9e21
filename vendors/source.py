"""A definition's file as plain data, with the line of every part. YAML 1.2; limits on size, depth and aliases."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from vendors.errors import DefinitionError, Finding

Where = tuple[str | int, ...]
"""Keys and list positions that lead to a part of the file."""

LARGEST_BYTES: Final = 256 * 1024
DEEPEST: Final = 40
MOST_NODES: Final = 10_000
_TOO_DEEP: Final = (f"is nested deeper than {DEEPEST} levels", "Flatten it, or check the aliases")
_TOO_MANY: Final = (f"has more than {MOST_NODES} values, aliases counted", "Use fewer aliases")
_TAG: Final = "tag:yaml.org,2002:"
_TAGS_READ: Final = frozenset({"map", "seq", "str", "int", "float", "bool", "null", "timestamp"})
_REMEDIES: Final = (
    ("\\t", "Indent with blanks, not with tabs"),
    ("mapping values are not allowed", "Put text that holds a colon and a blank in quotation marks"),
    ("could not find expected ':'", "Check the indentation, and that every key ends with a colon"),
    ("undefined alias", "Give the anchor (&name) before its alias (*name)"),
    ("expected ',' or", "Inside { } and [ ] put text with ${…} or a comma in quotation marks, and close the bracket"),
    ("cannot start any token", "Put text that starts with @, ` or % in quotation marks"),
    ("another document", "Write one definition per file, without ---"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file that is well-formed. lines: counted from 1, of each key and list item."""

    file: str
    data: Mapping[str, object]
    lines: Mapping[Where, int] = field(repr=False)

    def line_of(self, where: Where) -> int:
        """Return the line of a part, or of the nearest part around it."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)


def dotted(where: Where) -> str:
    """Write a place in the file for people: `errors[0].status`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).removeprefix(".")
    return text or "(the file)"


def read_source(path: Path) -> Source:
    """Read a file. Raises DefinitionError with one finding where it is not well-formed, too large or unreadable."""
    reader = _SourceReader(str(path))
    try:
        raw = path.read_bytes() if path.stat().st_size <= LARGEST_BYTES else None
    except OSError as problem:
        raise reader.refused(1, f"cannot be read: {problem.strerror}", "Check the name and the rights") from problem
    if raw is None:
        raise reader.refused(1, f"is larger than {LARGEST_BYTES // 1024} KiB", "Split it, or move its data elsewhere")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = raw.count(b"\n", 0, problem.start) + 1
        raise reader.refused(line, "is not UTF-8", "Save the file as UTF-8") from None
    return reader.read(text)


class _TooMuchError(Exception):
    """The file is deeper or longer than a definition may be. Raised while it is parsed: all of it would take long."""

    def __init__(self, line: int, problem: str, remedy: str) -> None:
        super().__init__(line, problem, remedy)
        self.line, self.problem, self.remedy = line, problem, remedy


class _LimitedComposer(Composer):
    """Stops at the limits. An anchor may be given anew, as YAML allows."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader=loader)
        self.warn_double_anchors = False
        self._open, self._count = 0, 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._open += 1
        self._count += 1
        line = self.parser.peek_event().start_mark.line + 1
        if self._open > DEEPEST + 1:
            raise _TooMuchError(line, *_TOO_DEEP)
        if self._count > MOST_NODES:
            raise _TooMuchError(line, *_TOO_MANY)
        node = super().compose_node(parent, index)
        self._open -= 1
        return node


class _SourceReader:
    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Where, int] = {}
        self.count = 0

    def read(self, text: str) -> Source:
        try:
            parser = YAML(typ="safe", pure=True)
            parser.Composer = _LimitedComposer
            node = parser.compose(text)
        except _TooMuchError as problem:
            raise self.refused(problem.line, problem.problem, problem.remedy) from None
        except MarkedYAMLError as problem:
            raise self._from_yaml(problem) from None
        except (YAMLError, RecursionError, ValueError) as problem:
            sentence = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
            raise self.refused(1, f"is not YAML: {sentence}", "Check the file with an editor that knows YAML") from None
        if not isinstance(node, MappingNode):
            raise self.refused(1, "is empty or not a mapping", "Start with `vendor: name`")
        data = self._value(node, (), 0)
        assert isinstance(data, dict)  # noqa: S101 - for the type checker: a MappingNode gives a dict
        return Source(file=self.file, data=data, lines=self.lines)

    def refused(self, line: int, problem: str, remedy: str, where: Where = (), code: str = "yaml") -> DefinitionError:
        finding = Finding(
            file=self.file, line=line, path=dotted(where), problem=problem, remedy=f"{remedy}.", code=code
        )
        return DefinitionError((finding,))

    def _from_yaml(self, problem: MarkedYAMLError) -> DefinitionError:
        mark = problem.problem_mark or problem.context_mark
        sentence = str(problem.problem or problem.context or "is not YAML")
        remedy = next((text for sign, text in _REMEDIES if sign in sentence), "Check the indentation and the brackets")
        return self.refused((mark.line + 1) if mark else 1, f"is not YAML: {sentence}", remedy)

    def _value(self, node: Node, where: Where, depth: int) -> object:
        self.count += 1
        line = node.start_mark.line + 1
        if self.count > MOST_NODES:
            raise self.refused(line, *_TOO_MANY, where)
        if depth > DEEPEST:
            raise self.refused(line, *_TOO_DEEP, where)
        self.lines.setdefault(where, line)
        if str(node.tag).removeprefix(_TAG) not in _TAGS_READ:
            problem = f"has the tag {node.tag}, which is not read"
            raise self.refused(line, problem, "Write it as plain text in quotation marks", where)
        if isinstance(node, MappingNode):
            return self._mapping(node, where, depth)
        if isinstance(node, SequenceNode):
            return [self._value(item, (*where, index), depth + 1) for index, item in enumerate(node.value)]
        return _scalar(str(node.tag).removeprefix(_TAG), str(node.value))

    def _mapping(self, node: MappingNode, where: Where, depth: int) -> dict[str, object]:
        members: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                raise self.refused(line, "has a list or mapping as a key", "Use text as a key", where)
            key = str(key_node.value)
            if key in members:
                first = self.lines[*where, key]
                problem = f"`{key}` stands twice (first in line {first})"
                raise self.refused(line, problem, "Keep one of the two", (*where, key), "duplicate-key")
            if key == "<<":
                raise self.refused(line, "merge keys (<<) are not YAML 1.2", "Use an alias for a whole value", where)
            self.lines[*where, key] = line
            members[key] = self._value(value_node, (*where, key), depth + 1)
        return members


def _scalar(tag: str, text: str) -> object:
    match tag:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return _whole_number(text)
        case "float":
            return _number(text)
    return text


def _whole_number(text: str) -> object:
    try:
        return int(text.replace("_", ""), 0) if re.match(r"[+-]?0[xob]", text) else int(text.replace("_", ""))
    except ValueError:
        return text


def _number(text: str) -> object:
    try:
        return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text
