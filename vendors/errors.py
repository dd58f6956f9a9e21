"""What can go wrong between a definition and a vendor.

VendorError
├── DefinitionError            the file is not a valid definition (findings with file, line, path, remedy)
├── UnknownVendorError         no definition of that name
├── MissingCredentialError     the connection lacks a credential or setting that the definition asks for
├── MissingApplicationError    the operator's settings lack the OAuth application that the definition asks for
├── AuthorizationNeededError   nobody has consented yet, or what was granted is over and cannot be renewed
├── InvalidCredentialsError    credentials or settings do not fit the definition's schemas (fields by name, no values)
├── ExpressionError            a `${…}` that cannot be read (found when the file is loaded)
├── MissingReferenceError      a `${…}` names something that is not there at run time
├── UnusableValueError         a `${…}` yields a value that cannot be used where it stands
├── AnswerRefusedError         the vendor answered with an error that no rule lets pass
├── ApplicationRefusedError    the token endpoint does not accept the operator's OAuth application
├── AnswerReportsError         a success status whose body reports an error
├── MalformedBodyError         a success status whose body is not what its format promises
├── UnexpectedShapeError       a well-formed body without the members that the definition names
├── PaginationError            a page token seen twice, a missing has-more flag, a counter that cannot end
└── JobFailedError             an asynchronous export that the vendor ended without a result, or that never ended
"""

from dataclasses import dataclass
from difflib import get_close_matches


class VendorError(Exception):
    """The root of this package's errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing wrong with a definition. line: counted from 1; path: dotted (`data_types.users.pagination`)."""

    file: str
    line: int
    path: str
    problem: str
    remedy: str
    code: str = "schema"
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.path}: {self.problem}. {self.remedy}"


class DefinitionError(VendorError):
    """The file is not a valid definition."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__(findings)
        self.findings = findings

    def __str__(self) -> str:
        return "\n".join(str(finding) for finding in self.findings)


class UnknownVendorError(VendorError):
    """No definition of that name is in the catalogue or in the operator's folder."""

    def __init__(self, vendor: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(vendor, known)
        self.vendor, self.known = vendor, known

    def __str__(self) -> str:
        near = get_close_matches(self.vendor.lower(), self.known, n=1, cutoff=0.6)
        hint = f", did you mean {near[0]!r}?" if near else f"; known: {', '.join(self.known) or 'none'}"
        return f"no definition of a vendor named {self.vendor!r}{hint}"


class MissingCredentialError(VendorError):
    """The connection lacks a credential or setting that the vendor's definition asks for."""

    def __init__(self, vendor: str, name: str) -> None:
        super().__init__(vendor, name)
        self.vendor, self.name = vendor, name

    def __str__(self) -> str:
        return f"{self.vendor}: no value for {self.name}"


class MissingApplicationError(VendorError):
    """The operator's settings lack the OAuth application that the vendor's definition asks for."""

    def __init__(self, vendor: str, app: str) -> None:
        super().__init__(vendor, app)
        self.vendor, self.app = vendor, app

    def __str__(self) -> str:
        return (
            f"{self.vendor}: the settings have no OAuth application {self.app!r}; register one at the vendor and put "
            f"[{self.app}] with client_id and client_secret into the file of CONNECTION_HEALTH_OAUTH_APPS_FILE"
        )


class AuthorizationNeededError(VendorError):
    """Nobody has consented yet, or what was granted is over and cannot be renewed: a person must consent again."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return self.problem


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldProblem:
    """What is wrong with one field of a connection. part: `credentials` or `settings`; never holds a value."""

    part: str
    name: str
    problem: str

    def __str__(self) -> str:
        return f"{self.part}.{self.name} {self.problem}"


class InvalidCredentialsError(VendorError):
    """Credentials or settings do not fit what the vendor's definition asks for."""

    def __init__(self, vendor: str, problems: tuple[FieldProblem, ...]) -> None:
        super().__init__(vendor, problems)
        self.vendor, self.problems = vendor, problems

    def __str__(self) -> str:
        return f"{self.vendor}: {'; '.join(str(problem) for problem in self.problems)}"


class ExpressionError(VendorError):
    """A `${…}` that cannot be read. position: of the first odd character in text, from 0; where: keys to the text."""

    def __init__(self, text: str, position: int, problem: str, where: tuple[str | int, ...] = ()) -> None:
        super().__init__(text, position, problem, where)
        self.text, self.position, self.problem, self.where = text, position, problem, where

    def __str__(self) -> str:
        return f"{self.problem} (at character {self.position + 1} of {self.text!r})"


class MissingReferenceError(VendorError):
    """Something that an expression needs is not there (or null) and no `?` or `??` says that it may be so."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"no value for {self.path}"


class UnusableValueError(VendorError):
    """A value is there, but not of a kind that can be used. Names the expression, never the value: it may be secret."""

    def __init__(self, expression: str, problem: str) -> None:
        super().__init__(expression, problem)
        self.expression, self.problem = expression, problem

    def __str__(self) -> str:
        return f"{self.expression}: {self.problem}"


class _EndpointError(VendorError):
    def __init__(self, endpoint: str, problem: str) -> None:
        super().__init__(endpoint, problem)
        self.endpoint, self.problem = endpoint, problem

    def __str__(self) -> str:
        return f"{self.endpoint}: {self.problem}"


class AnswerRefusedError(_EndpointError):
    """The vendor answered with an error that no rule lets pass. The session captured the exchange."""


class ApplicationRefusedError(_EndpointError):
    """The token endpoint does not accept the OAuth application, which is the operator's own: no customer mends it."""


class AnswerReportsError(_EndpointError):
    """A success status whose body reports an error."""


class MalformedBodyError(_EndpointError):
    """A success status whose body is not what its format promises: the vendor's fault."""


class UnexpectedShapeError(_EndpointError):
    """A well-formed body without the members that the definition names: the definition's fault, so ours."""


class PaginationError(_EndpointError):
    """Pages that cannot be followed to an end without losing or repeating records."""


class JobFailedError(_EndpointError):
    """An asynchronous export that the vendor ended without a result, or that did not end in the time allowed."""
