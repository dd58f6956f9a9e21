"""The page of all reasons, made from the table: `python -m classifier.reasons_page > docs/reasons.md`."""

import sys
from collections.abc import Iterator
from typing import Final

from classifier.codes import CODES
from classifier.exceptions import RULES
from classifier.phrases import PHRASES
from classifier.reasons import REASONS, Reason
from classifier.statuses import REASON_OF_STATUS
from classifier.vocabulary import DESCRIPTION, OWNER, HealthName

_HEAD: Final = """# Reasons

Every verdict has a reason, finer than its name and stable: programs may rest on it. The reason settles the name, and
the name who must act. On the wire, the operator of this software is `LEEN`.

This page is made from the code (`python -m classifier.reasons_page > docs/reasons.md`); a test compares them.
"""


def _grounds(reason: Reason) -> str:
    codes = sum(len(rule.codes) for rule in CODES if rule.reason == reason.id)
    phrases = sum(len(rule.phrases) for rule in PHRASES if rule.reason == reason.id)
    statuses = sorted(status for status, said in REASON_OF_STATUS.items() if said == reason.id)
    exceptions = sum(max(len(rule.names), 1) for rule in RULES if rule.reason == reason.id)
    parts = [
        f"status {', '.join(map(str, statuses))}" if statuses else "",
        f"{codes} codes" if codes else "",
        f"{phrases} phrases" if phrases else "",
        f"{exceptions} kinds of exception" if exceptions else "",
    ]
    return "; ".join(part for part in parts if part) or "what is seen besides"


def _lines() -> Iterator[str]:
    yield _HEAD
    for name in HealthName:
        yield f"## {name.value}\n"
        yield f"{DESCRIPTION[name]}. {OWNER[name].value} must act.\n"
        yield "| reason | says | next step | rests on |"
        yield "| --- | --- | --- | --- |"
        for reason in REASONS.values():
            if reason.name is name:
                says = reason.sentence.replace("{saw}", "…")
                yield f"| `{reason.id}` | {says} | {reason.next_step} | {_grounds(reason)} |"
        yield ""


def page() -> str:
    """Return the page in Markdown."""
    return "\n".join(_lines()).rstrip("\n") + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
