"""A vendor family's own meanings of its answers, as data. What a dialect does not say, the general rules do."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from classifier.vocabulary import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What an exchange must look like; everything that is given must hold.

    statuses: HTTP statuses, empty for any; phases: empty for any; codes: machine codes as the vendor writes them, met
    anywhere in the error part of the body or in an error header, compared without case and punctuation;
    paths: dotted path into the body's JSON (`error.code`, `errors.0.code`, `errors.*.code`) or an XML element's name
    -> accepted values as text, `*` for any; headers: lower-case name -> accepted values without case, `*` for any;
    words: phrases of which one stands in the error's text, without case; url: a part of the URL's path;
    empty_body: True where the body must be empty.
    """

    statuses: frozenset[int] = frozenset()
    phases: frozenset[Phase] = frozenset()
    codes: frozenset[str] = frozenset()
    paths: Mapping[str, frozenset[str]] = field(default_factory=dict)
    headers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    url: str | None = None
    empty_body: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DialectRule:
    """One meaning. reason: a key of `classifier.reasons.REASONS`, which settles the name; source: documentation URL."""

    id: str
    when: Condition
    reason: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The rules of one family, asked in order, first match wins. vendors: names that definitions and cases use.

    without: ids of general rules on codes that do not hold for this family.
    """

    family: str
    vendors: frozenset[str] = frozenset()
    rules: tuple[DialectRule, ...] = ()
    without: frozenset[str] = frozenset()
