"""Credentials as a person hands them over: a file, standard input, or typed without being shown. Never an argument."""

import getpass
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.errors import BadInputError
from cli.output import note

STANDARD_INPUT = "-"


def read_document(source: str, what: str) -> dict[str, Any]:
    """Return the JSON object in a file, or on standard input for `-`. The text is never repeated in an error.

    what: `credentials` or `options`. Raises BadInputError.
    """
    where = "standard input" if source == STANDARD_INPUT else source
    try:
        text = sys.stdin.read() if source == STANDARD_INPUT else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadInputError(f"cannot read the {what} from {where}: {why}") from None
    try:
        document = json.loads(text)
    except ValueError as error:
        at = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise BadInputError(
            f'the {what} in {where} are not JSON{at}: give one object such as {{"token": "…"}}'
        ) from None
    if not isinstance(document, dict):
        raise BadInputError(f'the {what} in {where} must be one JSON object such as {{"token": "…"}}')
    return document


def gather(
    *, file: Path | None, source: str | None, schema: Mapping[str, Any], vendor: str, wanted: bool = True
) -> dict[str, Any] | None:
    """Return credentials from a file, from `-`, or typed at a terminal; None where none were given and none are wanted.

    schema: the definition's JSON Schema of its credentials. Raises BadInputError.
    """
    if file is not None and source is not None:
        raise BadInputError("give --credentials-file or --credentials -, not both")
    if source is not None and source != STANDARD_INPUT:
        raise BadInputError(
            "credentials are never taken from an argument, where every process list shows them: "
            "give --credentials-file FILE, or --credentials - for standard input"
        )
    if file is not None:
        return read_document(str(file), "credentials")
    if source is not None:
        return read_document(STANDARD_INPUT, "credentials")
    if not wanted:
        return None
    names = list(_properties(schema))
    if not names:
        return {}
    if not sys.stdin.isatty():
        raise BadInputError(
            f"{vendor} needs credentials ({', '.join(names)}): give --credentials-file FILE with one JSON object, "
            "or --credentials - for standard input"
        )
    return ask(schema)


def ask(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Ask for each member of a schema at the terminal; secrets are not shown while they are typed."""
    given: dict[str, Any] = {}
    required = tuple(schema.get("required", ()))
    for name, rule in _properties(schema).items():
        title, description = rule.get("title") or name, rule.get("description")
        if description:
            note(f"  {description}")
        choices = rule.get("enum")
        hint = f" ({' | '.join(map(str, choices))})" if choices else "" if name in required else " (may be left empty)"
        answer = _answer(f"{title}{hint}: ", is_secret=bool(rule.get("secret")))
        while not answer and name in required and "default" not in rule:
            answer = _answer(f"{title}, which is needed: ", is_secret=bool(rule.get("secret")))
        if answer:
            given[name] = typed(answer, rule)
    return given


def _answer(label: str, *, is_secret: bool) -> str:
    # Not `input`: it writes to standard output, which is for results.
    if is_secret:
        return getpass.getpass(label, stream=sys.stderr).strip()
    sys.stderr.write(label)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise BadInputError("the input ended before every credential was given")
    return line.strip()


def typed(text: object, rule: Mapping[str, Any]) -> object:
    """Turn what was typed into what the schema asks for, where that is a number or a truth; else it stays a text."""
    if not isinstance(text, str) or rule.get("type") not in ("integer", "number", "boolean", "array", "object"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text  # the schema's own check says what is wrong with it


def read_options(pairs: list[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings written as NAME=VALUE, each in the type that the schema gives it. Raises BadInputError."""
    given: dict[str, Any] = {}
    rules = _properties(schema)
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise BadInputError(f"--option takes NAME=VALUE, not {pair!r}")
        rule = rules.get(name)
        given[name] = typed(value, rule) if rule is not None else value
    return given


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    return schema.get("properties") or {}
