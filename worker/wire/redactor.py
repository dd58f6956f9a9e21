"""Keeps secrets out of whatever is kept: by value, in every encoding that an echo may come in, and by pattern.

By value: each credential of the run, and each token learned in it, is looked for as it is and as URLs, forms, JSON,
HTML, base64 (at any offset, so inside `user:password` too), hexadecimal digits and UTF-16 would show it.
By pattern: fields that carry credentials by their name, and strings that are credentials by their shape.
Machine codes stay readable: a field named `client_secret` whose value is `invalid` or a sentence says what is wrong
with the secret and is not one, and names like `x-ratelimit-remaining-tokens` count requests.

This runs over every answer, and nearly always finds nothing. So all searches are `in` on bytes: a secret's probes (the
longest run of letters and digits of each encoding, in lower case) are asked first, and its encodings are worked out at
the first hit; regular expressions only look at places where a name was found.
"""

import base64
import html
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final

MASK: Final = "***"
SHORTEST_BY_VALUE: Final = 4
"""Shorter secrets are not looked for: they would blot out every `1` of a body. Their places are masked by name."""
SHORTEST_ANYWHERE: Final = 8
"""Secrets from here on are masked inside longer words too; shorter ones only where a word starts and ends."""
_SHORTEST_PACKED: Final = 6  # base64 and hexadecimal digits of less are too common
_SHORTEST_PROBE: Final = 3
_LONGEST_NAME: Final = 64
_MASK: Final = MASK.encode()

_ENDINGS: Final = tuple(
    ending.encode()
    for ending in (
        "token",
        "secret",
        "key",
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "assertion",
        "authorization",
        "cookie",
        "jwt",
    )
)
_KEY: Final = b'key"'
_NO_CREDENTIAL_KEY: Final = b"\"'. "
_QUOTED_ENDINGS: Final = tuple(_KEY if ending == b"key" else ending + b'"' for ending in _ENDINGS)
_ASSIGNED_ENDINGS: Final = (
    *(ending + b"=" for ending in _ENDINGS),
    b"signature=", b"credential=", b"&sig=", b"?sig=", b"code=", b"session=", b"sid=", b"?auth=", b"&auth=",
)  # fmt: skip
_CREDENTIAL_NAME: Final = re.compile(
    rb"(?:[a-z0-9.]+[_-])*?(?:(?:access|refresh|id|auth|session|bearer|api|security|csrf|xsrf|oauth)[_-]?token|"
    rb"(?:client|app|consumer|oauth|webhook|shared)[_-]?secret|(?:api|access|secret|private|auth|signing|subscription)[_-]?key|"
    rb"secret|password|passwd|passphrase|pwd|assertion|(?:proxy-)?authorization|(?:set-)?cookie|jwt)",
)
_CREDENTIAL_PARAMETER: Final = re.compile(
    rb"(?:(?:[a-z0-9.]+[_-])*(?:token|secret|key|password|passwd|pwd|passphrase|assertion|authorization|jwt|sig|signature|"
    rb"credential)|(?:access|refresh|id|auth)token|clientsecret|apikey|auth|session|sid|code)",
)
_PAGING_PARAMETER: Final = re.compile(
    rb"(?:.*[_-])?(?:page|next|continuation|sync|skip|cursor|delta|after|before|partition|sort|row|primary|foreign)[_-]?(?:token|key)",
)
_NAME_BEFORE: Final = re.compile(rb"[a-z0-9_.-]{1,64}\Z")
_MEMBER_VALUE: Final = re.compile(rb'\s*:\s*"((?:[^"\\]|\\.)*)')
_PARAMETER_VALUE: Final = re.compile(rb"([^&#\s\"'<>;,\\)]*)")
_SCHEME: Final = re.compile(
    rb"(?i)\b(bearer|basic|ssws|credential=)[ \t]*"
    rb"(?![a-z_]+=[\\\"' ])(?=[^\s\"']*[0-9+/=]|[^\s\"']{32})([a-z0-9._~+/\-]{8,}=*)",
)
_SCHEME_MARKS: Final = (b"bearer ", b"basic ", b"ssws ", b"credential=")
_JWT: Final = re.compile(rb"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4}")
_PRIVATE_KEY: Final = re.compile(
    rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_PLAIN: Final = re.compile(
    rb"(?i)(?:(?:is|was|has|are|not|no|too|been)[_ -]?)*(?:invalid|missing|required|expired|revoked|blank|empty|"
    rb"unknown|incorrect|wrong|malformed|null|none|bad|denied|unauthorized|forbidden|mismatch|disabled|unsupported|undefined|"
    rb"not[_ -]?found|short|long|true|false)[a-z_ .-]*",
)
_SPOKEN_ALWAYS: Final = (b"authorization", b"cookie")  # their values hold blanks and are no sentences
_SHORTEST_OAUTH_CODE: Final = 16  # `code=403` is no authorization code
_USERINFO: Final = re.compile(rb"(?<=//)[^/?#@\s]*@")
_RUN: Final = re.compile(rb"[a-z0-9]+")
_SECRET_HEADER: Final = re.compile(
    r"(?:proxy-)?authorization|(?:set-)?cookie2?|(?:.+[-_])?(?:api[-_]?key|apikey|access[-_]?key|secret|password|"
    r"session[-_]?id|credential|signature)|(?:.+[-_])?(?:access|auth|api|csrf|xsrf|session|security|refresh|id|vault)[-_]?token",
)


@lru_cache(maxsize=4096)
def is_secret_header(name: str) -> bool:
    """Say whether a header of this name (lower case) carries a credential."""
    return _SECRET_HEADER.fullmatch(name) is not None


class Redactor:
    """The secrets of one run. Cheap to make; meant for one thread."""

    __slots__ = ("_secrets",)

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: dict[str, _Secret] = {}
        for secret in secrets:
            self.hide(secret)

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._secrets)} secrets>"

    def hide(self, secret: str) -> None:
        """Mask this value from now on. Shorter than SHORTEST_BY_VALUE: ignored."""
        if secret not in self._secrets and len(secret) >= SHORTEST_BY_VALUE:
            self._secrets[secret] = _Secret(secret)
            stripped = secret.strip()
            if stripped != secret:
                self.hide(stripped)

    @property
    def longest_bytes(self) -> int:
        """How long an encoding of a secret may be: so much is read beyond a sample, for what lies across its end."""
        return 12 * max((len(secret.encode("utf-8", "replace")) for secret in self._secrets), default=0)

    def data(self, data: bytes) -> bytes:
        """Return a body without secrets."""
        lowered = data.lower()
        clean = self._without_values(data, lowered)
        if clean is not data:
            data, lowered = clean, clean.lower()
        clean = _without_members(data, lowered)
        if clean is not data:
            data, lowered = clean, clean.lower()
        return _without_shapes(data, lowered)

    def text(self, text: str) -> str:
        """Return a text (an exception's message, a header's value, a URL) without secrets."""
        data = text.encode("utf-8", "surrogateescape")
        clean = self.data(data)
        if b"@" in clean and b"://" in clean:
            clean = _USERINFO.sub(_MASK + b"@", clean)
        return text if clean == data else clean.decode("utf-8", "surrogateescape")

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the header without secrets. Names in lower case, in and out."""
        whole = "\n".join(headers) + "\n\n" + "\n".join(headers.values())
        if self.text(whole) == whole:  # the rule; asked once for all of them
            return {name: MASK if is_secret_header(name) else value for name, value in headers.items()}
        return {
            self.text(name): MASK if is_secret_header(name) else self.text(value) for name, value in headers.items()
        }

    def holds_secret(self, text: str) -> bool:
        """Say whether a text shows one of the known secrets in any encoding."""
        data = text.encode("utf-8", "surrogateescape")
        return self._without_values(data, data.lower()) is not data

    def _without_values(self, data: bytes, lowered: bytes) -> bytes:
        for secret in self._secrets.values():
            if secret.may_be_in(lowered):
                data = secret.masked_in(data)
        return data


class _Secret:
    """One secret: how to notice quickly that it is not there, and how it may look where it is."""

    __slots__ = ("_pattern", "_probes", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        self._pattern: re.Pattern[bytes] | None = None
        self._probes = _probes(value)

    def may_be_in(self, lowered: bytes) -> bool:
        for probe in self._probes:  # a loop and no any(): this is asked for every answer  # noqa: SIM110
            if probe in lowered:
                return True
        return False

    def masked_in(self, data: bytes) -> bytes:
        """Return data itself where the secret is not in it after all."""
        if self._pattern is None:
            self._pattern = _pattern(self._value)
        clean, found = self._pattern.subn(_MASK, data)
        return clean if found else data


def _probes(secret: str) -> tuple[bytes, ...]:
    """Return strings of which one is in any text, in lower case, that shows the secret. An empty one is in all."""
    data = secret.encode("utf-8", "surrogatepass")
    forms = [data.lower()]
    if len(secret) >= _SHORTEST_PACKED:
        forms += [data.hex().encode(), *(digits.lower() for digits in _base64_digits(data))]
    found = {max(_RUN.findall(form), key=len, default=b"") for form in forms}
    if any(len(probe) < _SHORTEST_PROBE for probe in found) or not secret.isascii():
        return (b"",)
    return (*found, secret.lower().encode("utf-16-le")[:-1])


def _pattern(secret: str) -> re.Pattern[bytes]:
    """Return a pattern for all encodings. Signs are matched one by one, so mixtures and either case count too."""
    words = b"".join(_sign_pattern(sign) for sign in secret)
    if len(secret) < SHORTEST_ANYWHERE:
        words = b"(?<![a-z0-9])" + words + b"(?![a-z0-9])"
    forms = [words, re.escape(secret.encode("utf-16-le", "surrogatepass")[:-1])]  # that is in the big-endian form too
    if len(secret) >= _SHORTEST_PACKED:
        data = secret.encode("utf-8", "surrogatepass")
        forms.append(re.escape(data.hex().encode()))
        forms += [b"".join(map(_digit_pattern, digits.decode())) for digits in _base64_digits(data)]
    return re.compile(b"(?i)" + b"|".join(forms))


@lru_cache(maxsize=512)
def _sign_pattern(sign: str) -> bytes:
    """Return a pattern for one sign as raw text, URLs, forms, JSON and HTML show it, twice encoded too."""
    if sign.isascii() and sign.isalnum():
        return sign.encode()  # nobody encodes these
    shown: set[bytes] = set()
    for form in (sign, sign.lower(), sign.upper()):
        data = form.encode("utf-8", "surrogatepass")
        units = form.encode("utf-16-be", "surrogatepass")
        read_as_latin_1 = data.decode("latin-1").encode()  # as headers are
        shown |= {
            rb"\\{0,4}" + re.escape(data),
            re.escape(read_as_latin_1),
            b"".join(b"%%(?:25)?%02x" % byte for byte in data),
            b"".join(b"%%(?:25)?%02x" % byte for byte in read_as_latin_1),
            b"".join(rb"\\{1,2}u%02x%02x" % (units[at], units[at + 1]) for at in range(0, len(units), 2)),
            b"".join(b"&(?:amp;)?#(?:x0*%x|0*%d);" % (ord(part), ord(part)) for part in form),
        }
    named = html.escape(sign).encode()
    if named != sign.encode("utf-8", "surrogatepass"):
        shown.add(re.escape(named))
    if sign == " ":
        shown.add(rb"\+")
    longest_first = sorted(shown, key=len, reverse=True)
    return b"(?:" + b"|".join(longest_first) + b")"


def _digit_pattern(digit: str) -> bytes:
    """Return a pattern for one digit of base64 in either alphabet."""
    other = {"+": "-", "/": "_"}.get(digit)
    return _sign_pattern(digit) if other is None else b"(?:" + _sign_pattern(digit) + b"|" + other.encode() + b")"


def _base64_digits(data: bytes) -> list[bytes]:
    """Return the digits that the data alone decides, for each of the three offsets at which it may stand."""
    return [
        base64.b64encode(b"\0" * offset + data)[-(-8 * offset // 6) : 8 * (offset + len(data)) // 6]
        for offset in range(3)
    ]


def _without_members(data: bytes, lowered: bytes) -> bytes:
    """Mask the values of JSON members, form fields and query parameters that carry credentials by their name."""
    spans = list(_member_spans(data, lowered))
    if b"=" in lowered:
        spans += _parameter_spans(data, lowered)
    if not spans:
        return data
    parts: list[bytes] = []
    done = 0
    for start, end in sorted(spans):
        if start >= done:
            parts += (data[done:start], _MASK)
            done = end
    return b"".join((*parts, data[done:]))


def _member_spans(data: bytes, lowered: bytes) -> Iterator[tuple[int, int]]:
    for ending in _QUOTED_ENDINGS:
        at = lowered.find(ending)
        while at >= 0:
            close = at + len(ending) - 1
            # Many pages have `"key": "PROJ-1"` on each row; those are passed over quickly.
            if ending is not _KEY or lowered[at - 1] not in _NO_CREDENTIAL_KEY:
                name = _NAME_BEFORE.search(lowered, max(0, close - _LONGEST_NAME), close)
                value = _MEMBER_VALUE.match(data, close + 1)
                if name and value and _CREDENTIAL_NAME.fullmatch(name[0]) and _is_credential(name[0], value[1]):
                    yield value.span(1)
            at = lowered.find(ending, close)


def _parameter_spans(data: bytes, lowered: bytes) -> Iterator[tuple[int, int]]:
    for ending in _ASSIGNED_ENDINGS:
        at = lowered.find(ending)
        while at >= 0:
            equals = at + len(ending) - 1
            name = _NAME_BEFORE.search(lowered, max(0, equals - _LONGEST_NAME), equals)
            value = _PARAMETER_VALUE.match(data, equals + 1)
            if name and value and _is_credential_parameter(name[0], value[1]):
                yield value.span(1)
            at = lowered.find(ending, equals)


def _is_credential(name: bytes, value: bytes) -> bool:
    """Say whether a credential field's value is one, and not a word or a sentence about it."""
    if not value or value == _MASK or _PLAIN.fullmatch(value):
        return False
    return value.count(b" ") < 2 or any(spoken in name for spoken in _SPOKEN_ALWAYS)


def _is_credential_parameter(name: bytes, value: bytes) -> bool:
    if not _CREDENTIAL_PARAMETER.fullmatch(name) or _PAGING_PARAMETER.fullmatch(name):
        return False
    return _is_credential(name, value) and (name != b"code" or len(value) >= _SHORTEST_OAUTH_CODE)


def _without_shapes(data: bytes, lowered: bytes) -> bytes:
    for mark in _SCHEME_MARKS:
        if mark in lowered:
            data = _SCHEME.sub(rb"\1 " + _MASK, data)
            break
    if b"eyj" in lowered:
        data = _JWT.sub(_MASK, data)
    if b"private key" in lowered:
        data = _PRIVATE_KEY.sub(_MASK, data)
    return data
