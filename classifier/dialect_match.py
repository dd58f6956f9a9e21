"""Which rule of a dialect an answer meets."""

from classifier.codes import squashed
from classifier.dialect import Condition, Dialect, DialectRule
from classifier.members import at_path
from classifier.reading import Reading


class _Seen:
    """An answer as conditions compare it: made once for all rules."""

    __slots__ = ("codes", "reading", "texts")

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.codes = frozenset(map(squashed, reading.codes))
        self.texts = tuple(" ".join(text.lower().split()) for text in (*reading.texts, *reading.codes))

    def values(self, path: str) -> list[str]:
        reading = self.reading
        if reading.xml is not None:
            found = [value for name, value in reading.xml.leaves if name == path]
            return found or [reading.xml.attributes[name] for name in (path.lower(),) if name in reading.xml.attributes]
        if reading.document is None:
            return []
        return [
            str(value).lower() if isinstance(value, bool) else str(value)
            for value in at_path(reading.document, path)
            if isinstance(value, (str, int, float))
        ]


def _holds(when: Condition, seen: _Seen) -> bool:  # noqa: PLR0911 - one line and one way out per condition
    exchange = seen.reading.exchange
    if when.statuses and exchange.status not in when.statuses:
        return False
    if when.phases and exchange.phase not in when.phases:
        return False
    if when.url is not None and when.url not in exchange.url:
        return False
    if when.empty_body and exchange.body and not exchange.body.isspace():
        return False
    for name, accepted in when.headers.items():
        value = exchange.headers.get(name)
        if value is None or ("*" not in accepted and value.strip().lower() not in accepted):
            return False
    if when.codes and when.codes.isdisjoint(seen.codes):
        return False
    for path, accepted in when.paths.items():
        if not any("*" in accepted or value in accepted for value in seen.values(path)):
            return False
    return not when.words or any(phrase in text for phrase in when.words for text in seen.texts)


def rule_met(dialect: Dialect, reading: Reading) -> DialectRule | None:
    """Return the first rule whose every condition holds, None where none does."""
    seen = _Seen(reading)
    for rule in dialect.rules:
        if _holds(rule.when, seen):
            return rule
    return None


def reads_success(dialect: Dialect, status: int) -> bool:
    """Return whether a rule looks into the body of answers with this success status."""
    return any(
        (rule.when.paths or rule.when.codes or rule.when.words)
        and (not rule.when.statuses or status in rule.when.statuses)
        for rule in dialect.rules
    )
