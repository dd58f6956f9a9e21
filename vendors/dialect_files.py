"""Reads `dialects/<family>.yaml`: one vendor family's own meanings of its answers, with the documentation of each.

    family: slack
    vendors: [slack]
    documentation: https://docs.slack.dev/apis/web-api
    rules:
      - id: enterprise_login
        when: {status: [200], codes: [org_login_required]}
        reason: login_page
        name: UNAUTHORIZED
        source: https://…
        example: {status: 200, body: '{"ok": false, "error": "org_login_required"}'}

`when` may hold `status` (numbers, or 4xx and the like), `phase`, `codes`, `paths` (a dotted path into the body's JSON,
or an XML element's name -> values, or `any`), `headers` (name -> values, or `any`), `words`, `url`, `empty_body`. The
first rule whose every condition holds decides; where none does, the general rules do. `name` must be what the reason
means.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from classifier.codes import squashed
from classifier.dialect import Condition, Dialect, DialectRule
from classifier.outcome import Exchange
from classifier.reasons import REASONS
from classifier.vocabulary import Phase
from vendors.errors import DefinitionError, Finding
from vendors.expressions import did_you_mean
from vendors.source import Source, Where, dotted, read_source

DIALECTS: Final = Path(__file__).parent / "dialects"
ANY: Final = "any"
_TOP: Final = ("family", "vendors", "documentation", "rules")
_RULE: Final = ("id", "when", "reason", "name", "source", "example")
_WHEN: Final = ("status", "phase", "codes", "paths", "headers", "words", "url", "empty_body")
_EXAMPLE: Final = ("status", "headers", "body", "url", "method", "phase")
_CLASSES: Final = {f"{first}xx": frozenset(range(first * 100, first * 100 + 100)) for first in range(1, 6)}


@dataclass(frozen=True, slots=True, kw_only=True)
class DialectExample:
    """An answer that a rule was written for: a test replays it."""

    rule: str
    exchange: Exchange


@dataclass(frozen=True, slots=True, kw_only=True)
class DialectFile:
    """One file: the dialect, its documentation, and an example of each rule."""

    file: str
    dialect: Dialect
    documentation: str
    examples: tuple[DialectExample, ...] = field(default=())


class _Reader:
    """Turns a well-formed file into a dialect, gathering what is wrong with it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.findings: list[Finding] = []

    def wrong(self, where: Where, problem: str, remedy: str) -> None:
        self.findings.append(
            Finding(
                file=self.source.file,
                line=self.source.line_of(where),
                path=dotted(where),
                problem=problem,
                remedy=remedy,
                code="dialect",
            )
        )

    def mapping(self, value: object, where: Where, known: tuple[str, ...]) -> Mapping[str, object]:
        if not isinstance(value, Mapping):
            self.wrong(where, "is not a mapping", f"Write keys of {', '.join(known)}")
            return {}
        for key in value:
            if key not in known:
                hint = did_you_mean(str(key), known)
                self.wrong((*where, str(key)), f"is not known here{hint}", f"Use one of {', '.join(known)}")
        return value

    def text(self, owner: Mapping[str, object], key: str, where: Where) -> str:
        value = owner.get(key)
        if isinstance(value, str) and value.strip():
            return value.strip()
        self.wrong((*where, key), "is missing or not text", f"Write {key}: and a text")
        return ""

    def link(self, owner: Mapping[str, object], key: str, where: Where) -> str:
        value = self.text(owner, key, where)
        if value and not value.startswith("https://"):
            self.wrong((*where, key), "is not a link", "Give the https:// address of the page that documents this")
        return value

    def texts(self, value: object, where: Where) -> tuple[str, ...]:
        items = value if isinstance(value, list) else [value]
        if not items:
            self.wrong(where, "is empty", "Name at least one, or leave the key out")
        found: list[str] = []
        for position, item in enumerate(items):
            if isinstance(item, bool):
                found.append(str(item).lower())
            elif isinstance(item, (str, int, float)):
                found.append(str(item))
            else:
                self.wrong((*where, position), "is not text or a number", "Write one text or number per item")
        return tuple(found)

    def statuses(self, value: object, where: Where) -> frozenset[int]:
        found: set[int] = set()
        for text in self.texts(value, where) if value is not None else ():
            if text in _CLASSES:
                found |= _CLASSES[text]
            elif text.isdecimal() and 100 <= int(text) <= 999:
                found.add(int(text))
            else:
                self.wrong(where, f"{text} is no status", "Write numbers from 100 to 999, or 4xx, 5xx …")
        return frozenset(found)

    def phases(self, value: object, where: Where) -> frozenset[Phase]:
        found: set[Phase] = set()
        for text in self.texts(value, where) if value is not None else ():
            try:
                found.add(Phase(text))
            except ValueError:
                self.wrong(where, f"{text} is no phase", f"Use one of {', '.join(Phase)}")
        return frozenset(found)

    def table(self, value: object, where: Where, *, lower: bool) -> Mapping[str, frozenset[str]]:
        if value is None:
            return MappingProxyType({})
        if not isinstance(value, Mapping):
            self.wrong(where, "is not a mapping", "Write a name and the accepted values, or a name and `any`")
            return MappingProxyType({})
        found: dict[str, frozenset[str]] = {}
        for name, accepted in value.items():
            values = self.texts(accepted, (*where, str(name)))
            key = str(name).lower() if lower else str(name)
            if ANY in values:
                found[key] = frozenset({"*"})
            else:
                found[key] = frozenset(text.lower() if lower else text for text in values)
        return MappingProxyType(found)

    def condition(self, value: object, where: Where) -> Condition:
        given = self.mapping(value, where, _WHEN)
        codes = self.texts(given["codes"], (*where, "codes")) if "codes" in given else ()
        words = self.texts(given["words"], (*where, "words")) if "words" in given else ()
        url = given.get("url")
        empty = given.get("empty_body", False)
        if not isinstance(empty, bool):
            self.wrong((*where, "empty_body"), "is not true or false", "Write true, or leave it out")
        condition = Condition(
            statuses=self.statuses(given.get("status"), (*where, "status")),
            phases=self.phases(given.get("phase"), (*where, "phase")),
            codes=frozenset(squashed(code) for code in codes),
            paths=self.table(given.get("paths"), (*where, "paths"), lower=False),
            headers=self.table(given.get("headers"), (*where, "headers"), lower=True),
            words=tuple(" ".join(word.lower().split()) for word in words),
            url=str(url) if url is not None else None,
            empty_body=empty is True,
        )
        exact = condition.codes or condition.paths or condition.headers or condition.words or condition.url
        if not (condition.statuses or exact):
            self.wrong(where, "would match every answer", "Give a status, a code, a path, a header or words")
        if not exact and not condition.empty_body and any(200 <= status < 300 for status in condition.statuses):
            self.wrong(where, "would match every success", "Say what the body or the headers must hold too")
        return condition

    def example(self, value: object, rule: str, where: Where) -> DialectExample:
        given = self.mapping(value, where, _EXAMPLE)
        status = given.get("status")
        if not isinstance(status, int) or isinstance(status, bool):
            self.wrong((*where, "status"), "is missing or no number", "Write the status of the answer")
            status = 500
        headers = given.get("headers", {})
        if not isinstance(headers, Mapping):
            self.wrong((*where, "headers"), "is not a mapping", "Write header names and values")
            headers = {}
        phases = self.phases(given.get("phase"), (*where, "phase"))
        exchange = Exchange(
            method=str(given.get("method", "GET")),
            url=str(given.get("url", "https://api.example.com/v1/items")),
            phase=next(iter(phases), Phase.DATA),
            status=status,
            headers={str(name).lower(): str(text) for name, text in headers.items()},
            body=str(given.get("body", "")).encode(),
        )
        return DialectExample(rule=rule, exchange=exchange)

    def rule(self, value: object, family: str, where: Where) -> tuple[DialectRule, DialectExample]:
        given = self.mapping(value, where, _RULE)
        id_ = f"dialect.{family}.{self.text(given, 'id', where)}"
        reason = self.text(given, "reason", where)
        known = REASONS.get(reason)
        if reason and known is None:
            hint = did_you_mean(reason, REASONS)
            self.wrong((*where, "reason"), f"{reason!r} is no reason{hint}", "See docs/reasons.md for all of them")
        name = self.text(given, "name", where)
        if known is not None and name and name != known.name:
            self.wrong((*where, "name"), f"{reason} means {known.name}", f"Write {known.name}, or take another reason")
        rule = DialectRule(
            id=id_,
            when=self.condition(given.get("when"), (*where, "when")),
            reason=reason,
            source=self.link(given, "source", where),
        )
        return rule, self.example(given.get("example"), id_, (*where, "example"))

    def file(self) -> DialectFile:
        given = self.mapping(self.source.data, (), _TOP)
        family = self.text(given, "family", ())
        vendors = self.texts(given["vendors"], ("vendors",)) if "vendors" in given else ()
        if not vendors:
            self.wrong(("vendors",), "is missing", "Name the vendors whose answers this reads")
        rows = given.get("rules")
        if not isinstance(rows, list) or not rows:
            self.wrong(("rules",), "is missing or no list", "Write at least one rule")
            rows = []
        made = [self.rule(row, family, ("rules", position)) for position, row in enumerate(rows)]
        seen: set[str] = set()
        for position, (rule, _example) in enumerate(made):
            if rule.id in seen:
                self.wrong(("rules", position, "id"), "is there twice", "Give each rule an id of its own")
            seen.add(rule.id)
        documentation = self.link(given, "documentation", ())
        if self.findings:
            raise DefinitionError(tuple(self.findings))
        return DialectFile(
            file=self.source.file,
            dialect=Dialect(family=family, vendors=frozenset(vendors), rules=tuple(rule for rule, _ in made)),
            documentation=documentation,
            examples=tuple(example for _, example in made),
        )


def read_dialect(path: Path) -> DialectFile:
    """Return one file's dialect and examples. Raises DefinitionError: every finding has file, line, path and remedy."""
    return _Reader(read_source(path)).file()


def dialect_files(*directories: Path) -> Iterator[DialectFile]:
    """Yield every `*.yaml` of the directories, in order of name; of the catalogue's own where none is given."""
    for directory in directories or (DIALECTS,):
        for path in sorted(directory.glob("*.yaml")):
            yield read_dialect(path)


def load_dialects(*directories: Path) -> Mapping[str, Dialect]:
    """Return dialects by the names of the vendors they serve, and by family.

    Without directories: the ones that come with this package. A later directory's file takes a vendor from an earlier
    one, so that an operator can overrule. Raises DefinitionError.
    """
    by_vendor: dict[str, Dialect] = {}
    by_family: dict[str, Dialect] = {}
    for directory in directories or (DIALECTS,):
        own: dict[str, str] = {}
        for found in dialect_files(directory):
            by_family[found.dialect.family] = found.dialect
            for vendor in sorted(found.dialect.vendors):
                if vendor in own:
                    finding = Finding(
                        file=found.file,
                        line=1,
                        path="vendors",
                        problem=f"{vendor} is served by {own[vendor]} already",
                        remedy="Name each vendor in one dialect",
                        code="dialect",
                    )
                    raise DefinitionError((finding,))
                own[vendor] = found.file
                by_vendor[vendor] = found.dialect
    return MappingProxyType({**by_family, **by_vendor})
