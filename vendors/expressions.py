"""The small language of definitions: `${settings.region ?? 'eu'}`, six pure functions, and `choose` as structure.

    text        any text with `${…}` in it; `$${` writes a literal `${`
    ${…}        operand, then any number of `?? operand` and `| function`, read from left to right
    operand     root.path (null counts as missing; a number picks from a list; `'odd key'` quotes a segment),
                root.path? (may be missing), 'text', 12, true, false, now
    functions   date('iso8601') · shift('-P30D') · join(',') · lower · base64 · json
    choose      {choose: settings.region, map: {eu: …, us: …}, default: …} wherever a value may stand;
                settings.region? leaves it out where there is no region and no default

A whole `${…}` keeps the value's type; inside text it is written out. A parameter, member or list item in which an
optional reference is missing is left out (OMIT). There is no arithmetic, no loop, no call on a value and no regular
expression. What each root holds is the connector's to fill: the sets below say where each may stand.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from difflib import get_close_matches
from enum import Enum
from typing import Final
from urllib.parse import quote

from vendors.errors import ExpressionError, MissingReferenceError, UnusableValueError
from vendors.timeformats import format_problem, format_time, parse_duration, parse_time

ACCOUNT_ROOTS: Final = frozenset({"credentials", "settings"})
"""base_url, auth, check: what the connection brought."""

AUTH_ROOTS: Final = ACCOUNT_ROOTS | {"app"}
"""auth of the type oauth2_authorization_code: app.client_id, app.client_secret, of the operator's application."""

REQUEST_ROOTS: Final = ACCOUNT_ROOTS | {"parent", "each", "batch", "window"}
"""A data type's request: parent.<as>.<field>, each.<as>, batch.ids (joined), batch.list, window.start, window.end."""

JOB_ROOTS: Final = REQUEST_ROOTS | {"job"}
"""A job's poll and download: `job.id` as well, and `job.part` in the download of a job that lists parts."""

_DEEPEST: Final = 32
_LONGEST: Final = 20_000
_WIDEST_BITS: Final = 4096


class Omit(Enum):
    """The type of OMIT."""

    OMIT = "omit"


OMIT: Final = Omit.OMIT
"""What an optional reference yields that is missing: whoever holds the value leaves it out."""


class _Missing(Enum):
    MISSING = "missing"


_MISSING: Final = _Missing.MISSING


@dataclass(frozen=True, slots=True)
class Value:
    """A compiled value: a constant, a text with references, or a structure of such.

    raw: as written, for people; needed: the references without which it cannot be resolved (no `?`, no `??`).
    """

    raw: object
    references: frozenset[str]
    needed: frozenset[str]
    _node: "_Node"

    @property
    def is_constant(self) -> bool:
        """Whether the value is the same in every scope."""
        return not self.references

    def resolve(self, scope: Mapping[str, object]) -> object:
        """Return the value with references filled from scope, or OMIT. Structures are new ones, free to be changed.

        scope: by root; `now` must be an aware datetime where it is used.
        Raises MissingReferenceError or UnusableValueError.
        """
        return self._node.resolve(scope, encode=False)

    def resolve_path(self, scope: Mapping[str, object]) -> str:
        """Return text for a URL: each reference percent-encoded (a slash too), the literal text as it is.

        Raises besides UnusableValueError where a reference leaves a segment empty or makes it `.` or `..`, for these
        would lead to another path, and MissingReferenceError where an optional reference is missing.
        """
        found = self._node.resolve(scope, encode=True)
        if found is OMIT:
            raise MissingReferenceError(min(self.references))
        return _text(found, str(self.raw))


def compile_value(raw: object, *, roots: frozenset[str]) -> Value:
    """Compile what stands in a definition. roots: the first segments that references may have (`now` always may).

    Raises ExpressionError for the first thing that cannot be read.
    """
    compiler = _Compiler(roots)
    node = compiler.compile(raw, ())
    if compiler.errors:
        raise compiler.errors[0]
    return Value(raw, frozenset(compiler.references), frozenset(compiler.needed), node)


def expression_problems(raw: object, *, roots: frozenset[str]) -> tuple[ExpressionError, ...]:
    """Return all that compile_value would complain of."""
    compiler = _Compiler(roots)
    compiler.compile(raw, ())
    return tuple(compiler.errors)


# ---- what a compiled value is made of


class _Node:
    __slots__ = ()

    def resolve(self, scope: Mapping[str, object], *, encode: bool) -> object:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _Constant(_Node):
    value: object

    def resolve(self, scope: Mapping[str, object], *, encode: bool) -> object:  # noqa: ARG002 - one shape for all nodes
        return self.value


@dataclass(frozen=True, slots=True)
class _Operand:
    """A reference (keys) or a literal (no keys)."""

    path: str = ""
    keys: tuple[str, ...] = ()
    literal: object = None

    def get(self, scope: Mapping[str, object]) -> object:
        if not self.keys:
            return self.literal
        found: object = scope
        for key in self.keys:
            if isinstance(found, Mapping):
                found = found.get(key)
            elif isinstance(found, list | tuple) and key.isdecimal() and len(key) < 10:
                found = found[int(key)] if int(key) < len(found) else None
            else:
                return _MISSING
            if found is None:
                return _MISSING
        return found


@dataclass(frozen=True, slots=True)
class _Call:
    function: Callable[[object, str], object]
    argument: str


@dataclass(frozen=True, slots=True)
class _Expression(_Node):
    """An operand and what is done to it, from left to right. source: as written, for errors."""

    source: str
    first: _Operand
    steps: tuple[_Operand | _Call, ...]
    optional: bool

    def resolve(self, scope: Mapping[str, object], *, encode: bool) -> object:
        found = self.first.get(scope)
        for step in self.steps:
            if isinstance(step, _Call):
                found = found if found is _MISSING else self._call(step, found)
            elif found is _MISSING:
                found = step.get(scope)
        if found is not _MISSING:
            return _checked_segment(quote(_text(found, self.source), safe=""), self.source) if encode else found
        if self.optional:
            return OMIT
        raise MissingReferenceError(self.first.path)

    def _call(self, step: _Call, value: object) -> object:
        try:
            return step.function(value, step.argument)
        except (TypeError, ValueError, OverflowError, RecursionError) as problem:
            raise UnusableValueError(self.source, _reason(problem)) from None


@dataclass(frozen=True, slots=True)
class _Template(_Node):
    """Text with expressions in it."""

    parts: tuple[str | _Expression, ...]

    def resolve(self, scope: Mapping[str, object], *, encode: bool) -> object:
        written: list[str] = []
        for part in self.parts:
            if isinstance(part, str):
                written.append(part)
                continue
            found = part.resolve(scope, encode=False)
            if found is OMIT:
                return OMIT
            text = _text(found, part.source)
            written.append(quote(text, safe="") if encode else text)
        whole = "".join(written)
        if encode:
            self._check_segments(written)
        return whole

    def _check_segments(self, written: list[str]) -> None:
        """Refuse what would lead elsewhere. References hold no slash any more: only literal text starts a segment."""
        segment, source = "", None
        for part, text in zip(self.parts, written, strict=True):
            if isinstance(part, _Expression):
                segment, source = segment + text, part.source
                continue
            head, slash, tail = text.partition("/")
            if slash:
                if source is not None:
                    _checked_segment(segment + head, source)
                segment, source = tail.rpartition("/")[2] if "/" in tail else tail, None
            else:
                segment += text
        if source is not None:
            _checked_segment(segment, source)


@dataclass(frozen=True, slots=True)
class _Choose(_Node):
    by: _Operand
    options: Mapping[str, _Node]
    default: _Node | None
    optional: bool

    def resolve(self, scope: Mapping[str, object], *, encode: bool) -> object:
        found = self.by.get(scope)
        node = self.default if found is _MISSING else self.options.get(_text(found, self.by.path), self.default)
        if node is not None:
            return node.resolve(scope, encode=encode)
        if found is _MISSING and self.optional:
            return OMIT
        if found is _MISSING:
            raise MissingReferenceError(self.by.path)
        raise UnusableValueError(self.by.path, f"is none of {', '.join(self.options)}, and the map has no default")


@dataclass(frozen=True, slots=True)
class _Members(_Node):
    items: tuple[tuple[str, _Node], ...]

    def resolve(self, scope: Mapping[str, object], *, encode: bool) -> object:
        resolved = ((key, node.resolve(scope, encode=encode)) for key, node in self.items)
        return {key: value for key, value in resolved if value is not OMIT}


@dataclass(frozen=True, slots=True)
class _Items(_Node):
    items: tuple[_Node, ...]

    def resolve(self, scope: Mapping[str, object], *, encode: bool) -> object:
        resolved = (node.resolve(scope, encode=encode) for node in self.items)
        return [value for value in resolved if value is not OMIT]


# ---- the six functions


def _date(value: object, fmt: str) -> object:
    return format_time(_moment(value), fmt)


def _shift(value: object, duration: str) -> object:
    return _moment(value) + parse_duration(duration)


def _join(value: object, separator: str) -> object:
    if not isinstance(value, list | tuple):
        raise TypeError("join needs a list")
    return separator.join(_text(item, "an item of the list") for item in value)


def _lower(value: object, _: str) -> object:
    return _text(value, "lower").lower()


def _base64(value: object, _: str) -> object:
    return base64.b64encode(value if isinstance(value, bytes) else _text(value, "base64").encode()).decode("ascii")


def _json(value: object, _: str) -> object:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_json_default)


def _json_default(value: object) -> object:
    if isinstance(value, datetime):
        return format_time(value, "iso8601_ms")
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError("json cannot write a value of this kind")


_FUNCTIONS: Final[Mapping[str, Callable[[object, str], object]]] = {
    "date": _date,
    "shift": _shift,
    "join": _join,
    "lower": _lower,
    "base64": _base64,
    "json": _json,
}
_ARGUMENTS: Final = {"date": "date('iso8601')", "shift": "shift('-P30D')", "join": "join(',')"}


def _moment(value: object) -> datetime:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value
    moment = parse_time(value, ("iso8601",))
    if moment is None:
        raise TypeError("date and shift need a time, or a text such as 2026-01-31T00:00:00Z")
    return moment


def _text(value: object, source: str) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() if value.bit_length() > _WIDEST_BITS:
            raise UnusableValueError(source, "is a number of thousands of digits")
        case int() | float():
            return str(value)
        case datetime():
            return str(format_time(value, "iso8601"))
        case date():
            return value.isoformat()
    raise UnusableValueError(source, "is a list or an object and cannot stand in text; add | join(',') or | json")


def _reason(problem: Exception) -> str:
    """Our own sentences only: those of the standard library may quote the value."""
    return str(problem) if type(problem) is TypeError and "need" in str(problem) else "cannot use a value of this kind"


def _checked_segment(segment: str, source: str) -> str:
    if segment in ("", ".", ".."):
        raise UnusableValueError(source, "is empty, . or .. and so would lead to another path")
    return segment


# ---- reading


class _Compiler:
    """Compiles one value and collects everything wrong with it."""

    def __init__(self, roots: frozenset[str]) -> None:
        self.roots = roots
        self.errors: list[ExpressionError] = []
        self.references: set[str] = set()
        self.needed: set[str] = set()

    def compile(self, raw: object, where: tuple[str | int, ...]) -> _Node:
        if len(where) > _DEEPEST:
            self.errors.append(ExpressionError("", 0, f"nested deeper than {_DEEPEST} levels", where))
        elif isinstance(raw, str):
            return self._text(raw, where)
        elif isinstance(raw, Mapping):
            return self._choose(raw, where) if "choose" in raw and "map" in raw else self._members(raw, where)
        elif isinstance(raw, list | tuple):
            return _Items(tuple(self.compile(item, (*where, index)) for index, item in enumerate(raw)))
        elif raw is not None and not isinstance(raw, bool | int | float | datetime | date):
            self.errors.append(ExpressionError("", 0, f"a value of type {type(raw).__name__} cannot be written", where))
        return _Constant(raw)

    def _members(self, raw: Mapping[object, object], where: tuple[str | int, ...]) -> _Node:
        for key in raw:
            if "${" in str(key):
                self.errors.append(ExpressionError(str(key), 0, "a name cannot be computed, only its value", where))
        return _Members(tuple((str(key), self.compile(item, (*where, str(key)))) for key, item in raw.items()))

    def _choose(self, raw: Mapping[object, object], where: tuple[str | int, ...]) -> _Node:
        by, options = raw["choose"], raw["map"]
        for key in raw:
            if key not in ("choose", "map", "default"):
                problem = f"{key!r} does not belong beside choose and map; only default does"
                self.errors.append(ExpressionError(str(key), 0, problem, where))
        if not isinstance(by, str) or not isinstance(options, Mapping) or not options:
            problem = "choose names a reference (settings.region) and map says what each of its values stands for"
            self.errors.append(ExpressionError(str(by), 0, problem, where))
            return _Constant(None)
        text = by.strip()
        text = text[2:-1] if text.startswith("${") and text.endswith("}") else text
        reader = _Reader(text, 0, len(text), self, (*where, "choose"))
        try:
            operand, optional = reader.operand()
            reader.expect_end()
        except ExpressionError as problem:
            self.errors.append(problem)
            return _Constant(None)
        if not operand.keys:
            self.errors.append(ExpressionError(by, 0, "choose needs a reference such as settings.region", where))
        mapped = {_key(key): self.compile(item, (*where, "map", _key(key))) for key, item in options.items()}
        default = self.compile(raw["default"], (*where, "default")) if "default" in raw else None
        if operand.keys and default is None and not optional:
            self.needed.add(operand.path)
        return _Choose(operand, mapped, default, optional)

    def _text(self, text: str, where: tuple[str | int, ...]) -> _Node:
        if len(text) > _LONGEST:
            self.errors.append(ExpressionError(text[:40], 0, f"longer than {_LONGEST} characters", where))
            return _Constant(text)
        if "{{" in text and "}}" in text:
            problem = "{{ … }} is not spoken here; write ${settings.name}"
            self.errors.append(ExpressionError(text, text.index("{{"), problem, where))
        try:
            parts = list(self._parts(text, where))
        except ExpressionError as problem:
            self.errors.append(problem)
            return _Constant(text)
        match parts:
            case []:
                return _Constant("")
            case [str() as literal]:
                return _Constant(literal)
            case [_Expression() as whole]:
                return whole
        return _Template(tuple(parts))

    def _parts(self, text: str, where: tuple[str | int, ...]) -> Iterator[str | _Expression]:
        literal, at = "", 0
        while (start := text.find("${", at)) >= 0:
            if start > 0 and text[start - 1] == "$":
                literal, at = literal + text[at : start - 1] + "${", start + 2
                continue
            literal += text[at:start]
            if literal:
                yield literal
            literal = ""
            end = _closing_brace(text, start + 2)
            if end < 0:
                raise ExpressionError(text, start, "`${` has no closing `}`", where)
            yield _Reader(text, start + 2, end, self, where).expression()
            at = end + 1
        literal += text[at:]
        if literal:
            yield literal


class _Reader:
    """Reads one expression, text[at:end], by hand: the language is too small for more."""

    def __init__(self, text: str, at: int, end: int, compiler: _Compiler, where: tuple[str | int, ...]) -> None:
        self.text, self.start, self.at, self.end = text, at, at, end
        self.compiler, self.where = compiler, where

    def expression(self) -> _Expression:
        first, optional = self.operand()
        steps: list[_Operand | _Call] = []
        while not self._done():
            if self._take("??"):
                operand, may_be_missing = self.operand()
                optional = optional or may_be_missing
                steps.append(operand)
            elif self._take("|"):
                steps.append(self._call())
            else:
                raise self._odd()
        if first.keys and not optional and not any(isinstance(step, _Operand) for step in steps):
            self.compiler.needed.add(first.path)
        return _Expression(f"${{{self.text[self.start : self.end]}}}", first, tuple(steps), optional)

    def operand(self) -> tuple[_Operand, bool]:
        """Read an operand and whether it is marked as optional."""
        self._skip_blanks()
        if self.at >= self.end:
            raise self._error("a reference such as settings.region is missing here")
        char = self.text[self.at]
        if char in "'\"":
            return _Operand(literal=self._quoted()), False
        if char.isdecimal() or (char == "-" and self.text[self.at + 1 : self.end][:1].isdecimal()):
            return _Operand(literal=self._number()), False
        if not _starts_name(char):
            raise self._odd()
        return self._reference()

    def expect_end(self) -> None:
        if not self._done():
            raise self._odd()

    def _reference(self) -> tuple[_Operand, bool]:
        start = self.at
        keys = [self._name()]
        if keys[0] in ("true", "false") and not self._peek("."):
            return _Operand(literal=keys[0] == "true"), False
        while self._peek("."):
            self.at += 1
            keys.append(self._segment())
        path = self.text[start : self.at]
        if self._peek("("):
            raise self._error("a value has no functions to call; the six functions stand after a |")
        if keys[0] not in self.compiler.roots and keys[0] != "now":
            known = sorted(self.compiler.roots | {"now"})
            raise self._error(
                f"{keys[0]!r} is not known here{did_you_mean(keys[0], known)}; known: {', '.join(known)}", start
            )
        if len(keys) == 1 and keys[0] != "now":
            raise self._error(f"name what you want of {keys[0]}, as in {keys[0]}.name", start)
        self.compiler.references.add(path)
        optional = self._peek("?") and not self._peek("??")
        self.at += 1 if optional else 0
        return _Operand(path=path, keys=tuple(keys)), optional

    def _segment(self) -> str:
        if self.at < self.end and self.text[self.at] in "'\"":
            return self._quoted()
        start = self.at
        while self.at < self.end and (_continues_name(self.text[self.at]) or self.text[self.at] in "$@"):
            self.at += 1
        if start == self.at:
            raise self._error("a name is missing after the dot")
        return self.text[start : self.at]

    def _name(self) -> str:
        start = self.at
        while self.at < self.end and _continues_name(self.text[self.at]):
            self.at += 1
        return self.text[start : self.at]

    def _quoted(self) -> str:
        close = self.text.find(self.text[self.at], self.at + 1, self.end)
        if close < 0:
            raise self._error("a quotation mark is not closed")
        text, self.at = self.text[self.at + 1 : close], close + 1
        return text

    def _number(self) -> int | float:
        start = self.at
        self.at += 1
        while self.at < self.end and (self.text[self.at].isdecimal() or self.text[self.at] == "."):
            self.at += 1
        written = self.text[start : self.at]
        try:
            return float(written) if "." in written else int(written)
        except ValueError:
            raise self._error(f"{written[:20]!r} is not a number", start) from None

    def _call(self) -> _Call:
        self._skip_blanks()
        start = self.at
        name = self._name()
        if name not in _FUNCTIONS:
            known = ", ".join(_FUNCTIONS)
            wrong = f"{name!r} is not a function{did_you_mean(name, _FUNCTIONS)}" if name else "a function is missing"
            raise self._error(f"{wrong}; the functions are {known}", start)
        argument = self._argument(name, start)
        problem = _argument_problem(name, argument)
        if problem:
            raise self._error(problem, start)
        return _Call(_FUNCTIONS[name], argument or "")

    def _argument(self, name: str, start: int) -> str | None:
        if not self._take("("):
            return None
        self._skip_blanks()
        if self._take(")"):
            return None
        if self.at >= self.end or self.text[self.at] not in "'\"":
            raise self._error(f"what {name} takes stands in quotation marks, as in {_ARGUMENTS.get(name, name)}")
        argument = self._quoted()
        if not self._take(")"):
            raise self._error(f"{name}(… is not closed, or has more than one argument", start)
        return argument

    def _skip_blanks(self) -> None:
        while self.at < self.end and self.text[self.at].isspace():
            self.at += 1

    def _done(self) -> bool:
        self._skip_blanks()
        return self.at >= self.end

    def _peek(self, token: str) -> bool:
        return self.text.startswith(token, self.at, self.end)

    def _take(self, token: str) -> bool:
        self._skip_blanks()
        found = self._peek(token)
        self.at += len(token) if found else 0
        return found

    def _odd(self) -> ExpressionError:
        char = self.text[self.at]
        if char in "+-*/%<>=!&":
            return self._error(f"{char!r} is not part of the language: no arithmetic, no comparison")
        return self._error(f"{char!r} is not expected here; after a reference come ??, | or the end")

    def _error(self, problem: str, at: int | None = None) -> ExpressionError:
        return ExpressionError(self.text, self.at if at is None else at, problem, self.where)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the nearest of the known words, or an empty text."""
    near = nearest(word, known)
    return f" (did you mean {near!r}?)" if near is not None else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that a misspelt one was probably meant to be, or None."""
    near = get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return near[0] if near else None


def _argument_problem(name: str, argument: str | None) -> str | None:
    if name not in _ARGUMENTS:
        return None if argument is None else f"{name} takes nothing in brackets"
    if argument is None:
        return f"{name} needs something in brackets, as in {_ARGUMENTS[name]}"
    if name == "date" and (problem := format_problem(argument)):
        return f"date: {argument!r} {problem}"
    if name == "shift":
        try:
            parse_duration(argument)
        except ValueError as problem:
            return f"shift: {problem}"
    return None


def _closing_brace(text: str, at: int) -> int:
    """Return where the `}` stands that is not inside quotation marks, or -1."""
    quote_mark = ""
    for index in range(at, len(text)):
        char = text[index]
        if quote_mark:
            quote_mark = "" if char == quote_mark else quote_mark
        elif char in "'\"":
            quote_mark = char
        elif char == "}":
            return index
    return -1


def _starts_name(char: str) -> bool:
    return char.isascii() and (char.isalpha() or char == "_")


def _continues_name(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char in "_-")


def _key(key: object) -> str:
    return _text(key, "a key of map") if isinstance(key, str | bool | int | float) else str(key)
