"""Where the findings about one definition are gathered, and how what the JSON Schema says becomes a sentence."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from vendors.errors import Finding
from vendors.expressions import nearest
from vendors.source import Source, Where, dotted

SCHEMA_FILE: Final = Path(__file__).parent / "schema" / "definition.schema.json"
SCHEMA: Final[Mapping[str, Any]] = json.loads(SCHEMA_FILE.read_bytes())
_VALIDATOR: Final = Draft202012Validator(SCHEMA)
_KINDS: Final = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}
# Words of other formats, and of other minds, that mean one of ours.
_FOREIGN: Final = {
    "authenticator": "auth",
    "authentication": "auth",
    "url_base": "base_url",
    "host": "base_url",
    "streams": "data_types",
    "endpoints": "data_types",
    "resources": "data_types",
    "paginator": "pagination",
    "paging": "pagination",
    "requester": "request",
    "record_selector": "records",
    "data": "records",
    "primary_key": "id",
    "cursor_field": "field",
    "incremental_sync": "incremental",
    "error_handler": "errors",
    "http_codes": "status",
    "statuses": "status",
    "predicate": "body",
    "params": "query",
    "parameters": "query",
    "body": "json",
    "url": "path",
    "verb": "method",
    "has_more": "more",
    "next": "token",
    "page_size": "size",
    "limit": "size",
    "spec": "settings",
    "retry_after_header": "wait_header",
}
_ANSWERS_CALLED_GOOD: Final = ("accept", "success", "succeed", "ok", "ignore", "ignored", "skip")


class Report:
    """Gathers findings about one file, at most one for the same code and place."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._findings: dict[tuple[Where, str, str], Finding] = {}
        self._bad: set[Where] = set()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings in the order of the file."""
        return tuple(sorted(self._findings.values(), key=lambda finding: (finding.line, finding.path, finding.code)))

    def add(self, where: Where, code: str, problem: str, remedy: str, *, fatal: bool = True) -> None:
        """Add a finding. where: keys and positions that lead to the part; remedy: without its full stop."""
        self._findings.setdefault(
            (where, code, problem),
            Finding(
                file=self.source.file,
                line=self.source.line_of(where),
                path=dotted(where),
                problem=problem,
                remedy=remedy if remedy.endswith("?") else f"{remedy}.",
                code=code,
                fatal=fatal,
            ),
        )
        if fatal:
            self._bad.add(where)

    def is_sound(self, where: Where) -> bool:
        """Whether nothing fatal was found in that part, so that it can be read."""
        return not any(bad[: len(where)] == where for bad in self._bad)


def check_schema(report: Report) -> None:
    """Hold the file against the JSON Schema and report what does not fit."""
    for error in _VALIDATOR.iter_errors(report.source.data):
        where = tuple(error.absolute_path)
        schema = error.schema if isinstance(error.schema, Mapping) else {}
        match error.validator:
            case "additionalProperties" | "unevaluatedProperties":
                _unknown_words(report, where, error, schema)
            case "required":
                _missing_words(report, where, error, schema)
            case "enum":
                _not_among(report, where, error)
            case "type":
                _wrong_kind(report, where, error, schema)
            case _:
                _other(report, where, error, schema)


def _unknown_words(report: Report, where: Where, error: ValidationError, schema: Mapping[str, Any]) -> None:
    instance = error.instance if isinstance(error.instance, Mapping) else {}
    known = sorted(_words_of(schema))
    for word in instance:
        if word not in known:
            remedy = f"Known here: {', '.join(known)}"
            if _FOREIGN.get(word) in known:
                remedy = f"Write `{_FOREIGN[word]}`"
            elif near := nearest(word, known):
                remedy = f"Did you mean `{near}`?"
            report.add((*where, word), "schema", f"`{word}` is not a word of this part", remedy)


def _missing_words(report: Report, where: Where, error: ValidationError, schema: Mapping[str, Any]) -> None:
    instance = error.instance if isinstance(error.instance, Mapping) else {}
    for word in map(str, _listed(error.validator_value)):
        is_misspelt = any(_FOREIGN.get(key) == word or nearest(key, [word]) for key in instance)
        if word not in instance and not is_misspelt:
            about = _resolved(_words_of(schema).get(word, {}))
            hint = about.get("x-write") or about.get("description") or f"As in `{word}: …`"
            report.add(where, "schema", f"`{word}` is missing", f"Add `{word}`. {str(hint).rstrip('.')}")


def _not_among(report: Report, where: Where, error: ValidationError) -> None:
    allowed = [item if isinstance(item, str) else json.dumps(item) for item in _listed(error.validator_value)]
    word = _shown(error.instance)
    if where[-1:] == ("action",) and str(error.instance).lower() in _ANSWERS_CALLED_GOOD:
        problem = f"{word} would call an error a success, and the cursor would move past what was not read"
        remedy = (
            "Write skip_part or empty, with a body that tells this case apart; what was skipped is counted and shown"
        )
        report.add(where, "error-as-success", problem, remedy)
        return
    near = nearest(str(error.instance), allowed)
    remedy = f"Did you mean `{near}`? Allowed: " if near else "Write one of: "
    report.add(where, "schema", f"{word} is not allowed here", f"{remedy}{', '.join(allowed)}")


def _wrong_kind(report: Report, where: Where, error: ValidationError, schema: Mapping[str, Any]) -> None:
    wanted = " or ".join(_KINDS.get(str(kind), str(kind)) for kind in _listed(error.validator_value))
    remedy = str(schema.get("x-write") or f"Write {wanted}")
    is_empty = error.instance is None
    report.add(
        where, "schema", "is empty" if is_empty else f"should be {wanted}, but is {_kind(error.instance)}", remedy
    )


def _other(report: Report, where: Where, error: ValidationError, schema: Mapping[str, Any]) -> None:
    remedy = str(schema.get("x-write") or schema.get("description") or "See docs/definitions.md").rstrip(".")
    match error.validator:
        case "pattern":
            problem = f"{_shown(error.instance)} does not have the right form"
        case "minItems" | "minProperties" | "minLength":
            problem = "is empty"
        case "minimum" | "maximum":
            bound = "at least" if error.validator == "minimum" else "at most"
            problem, remedy = f"{_shown(error.instance)} is out of range", f"Write {bound} {error.validator_value}"
        case "uniqueItems":
            problem, remedy = "names something twice", "Keep one of the two"
        case _:
            problem = error.message
    report.add(where, "schema", problem, remedy)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _words_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties of a schema and of the one that it refers to."""
    referred = _words_of(_target(schema["$ref"])) if "$ref" in schema else {}
    return {**referred, **schema.get("properties", {})}


def _resolved(schema: object) -> Mapping[str, Any]:
    """Return a schema with the words of the one that it refers to, its own first."""
    if not isinstance(schema, Mapping):
        return {}
    return {**_resolved(_target(schema["$ref"])), **schema} if "$ref" in schema else schema


def _target(reference: str) -> Mapping[str, Any]:
    target: Any = SCHEMA
    for key in reference.removeprefix("#/").split("/"):
        target = target[key]
    found: Mapping[str, Any] = target
    return found


def _kind(value: object) -> str:
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"text ({_shown(value)})"
        case list():
            return "a list"
    return "a mapping"


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return f"`{text if len(text) <= 60 else text[:57] + '…'}`"
