"""Every reason that a verdict may carry: its health, the sentence that says so, and what its owner should do.

A rule names a reason and nothing else; name, status and owner follow from it. Ids are stable: they are on the wire.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from classifier.vocabulary import OWNER, HealthName, ResolutionOwner


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a health was given.

    sentence: a template with `{saw}`, what happened as one clause (`GET /v1/devices answered 403 insufficient_scope`);
    next_step: what its owner should do, in the imperative.
    """

    id: str
    name: HealthName
    sentence: str
    next_step: str

    @property
    def owner(self) -> ResolutionOwner:
        """Who must act."""
        return OWNER[self.name]


_HEALTHY: Final = (
    ("ok", "{saw}.", "Nothing to do."),
    ("no_data", "{saw}; the vendor says so where it has nothing to give yet.", "Nothing to do."),
    ("accepted", "{saw}; the vendor's definition lets this answer pass.", "Nothing to do."),
)
_UNAUTHORIZED: Final = (
    (
        "unauthorized",
        "{saw}; the vendor did not accept the credentials.",
        "Enter the credentials again, from an account that may read this data.",
    ),
    ("credentials_invalid", "{saw}; the credentials are wrong.", "Copy the credentials from the vendor again."),
    (
        "credentials_missing",
        "{saw}; the connection lacks a credential or setting that the vendor asks for.",
        "Fill in the missing credential or setting.",
    ),
    ("token_expired", "{saw}; the token has expired.", "Make a new token at the vendor and enter it."),
    (
        "token_revoked",
        "{saw}; access was revoked at the vendor.",
        "Grant access again, or make a new token and enter it.",
    ),
    ("token_invalid", "{saw}; the vendor does not know the token.", "Copy the token again, or make a new one."),
    (
        "grant_invalid",
        "{saw}; the vendor no longer honours the grant that the connection rests on.",
        "Connect the account again.",
    ),
    (
        "client_invalid",
        "{saw}; the vendor does not accept the client id or its secret.",
        "Check the client id, its secret and whether the application still exists.",
    ),
    (
        "signature_invalid",
        "{saw}; the signature does not match, so the secret is wrong.",
        "Copy the key and its secret from the vendor again.",
    ),
    (
        "account_disabled",
        "{saw}; the account, user or application is disabled at the vendor.",
        "Have it enabled at the vendor, or connect another one.",
    ),
    (
        "account_locked",
        "{saw}; the account is locked or must prove itself by hand.",
        "Sign in at the vendor once, unlock the account, then enter the credentials again.",
    ),
    (
        "mfa_required",
        "{saw}; the vendor wants a second factor, which no sync can give.",
        "Connect with a service account or a token that needs no second factor.",
    ),
    (
        "consent_required",
        "{saw}; an administrator has not consented to the application.",
        "Have an administrator grant consent at the vendor.",
    ),
    ("scope_missing", "{saw}; the token lacks a scope.", "Add the scope to the token or application, then reconnect."),
    (
        "permission_missing",
        "{saw}; the account lacks a permission or role.",
        "Give the account the permission that this data asks for.",
    ),
    ("forbidden", "{saw}; the vendor refuses this account.", "Check the account's role, permissions and plan."),
    ("licence", "{saw}; the plan or licence does not include this.", "Upgrade the plan, or leave this data out."),
    (
        "feature_disabled",
        "{saw}; the feature or API is not enabled for this account.",
        "Enable the feature or API at the vendor.",
    ),
    ("payment_required", "{saw}; the vendor wants to be paid first.", "Settle the account's plan or bill."),
    (
        "ip_not_allowed",
        "{saw}; the vendor does not let our address in.",
        "Add our addresses to the allow-list at the vendor.",
    ),
    (
        "login_page",
        "{saw}; the vendor sent to its sign-in page, so the credentials did not count.",
        "Enter the credentials again.",
    ),
    (
        "tenant_unknown",
        "{saw}; the vendor does not know this tenant, account or site.",
        "Check the tenant, site or region in the connection's settings.",
    ),
)
_RATE_LIMITED: Final = (
    ("rate_limit", "{saw}; too many requests.", "The next run waits as long as the vendor asks."),
    (
        "quota",
        "{saw}; a quota is spent.",
        "The next run waits for the quota to be renewed; ask for more if it repeats.",
    ),
    (
        "quota_daily",
        "{saw}; the day's quota is spent.",
        "The next run waits for the next day; lengthen the interval or ask for more.",
    ),
    ("concurrency", "{saw}; too much at once.", "The next run waits until others are done; run fewer at once."),
)
_VENDOR: Final = (
    ("server_error", "{saw}; the vendor failed.", "Retried with growing pauses; see the vendor's status page."),
    ("unavailable", "{saw}; the vendor is not available.", "Retried with growing pauses; see its status page."),
    ("maintenance", "{saw}; the vendor is under maintenance.", "Retried when the maintenance should be over."),
    ("overloaded", "{saw}; the vendor is overloaded.", "Retried with growing pauses."),
    ("gateway", "{saw}; a gateway in front of the vendor could not reach it.", "Retried with growing pauses."),
    ("vendor_timeout", "{saw}; the vendor took too long.", "Retried with growing pauses."),
    ("dns", "{saw}; the vendor's name did not resolve.", "Retried; check the host name if it lasts."),
    ("connection_refused", "{saw}; the vendor's host refused the connection.", "Retried with growing pauses."),
    ("connection_lost", "{saw}; the connection broke off.", "Retried with growing pauses."),
    ("connection_failed", "{saw}; no connection to the vendor came about.", "Retried with growing pauses."),
    ("connect_timeout", "{saw}; the vendor did not take the connection in time.", "Retried with growing pauses."),
    ("read_timeout", "{saw}; the vendor did not answer in time.", "Retried with growing pauses."),
    ("tls", "{saw}; no trusted TLS connection to the vendor came about.", "Retried; check the vendor's certificate."),
    ("truncated_body", "{saw}; the answer broke off before its end.", "Retried with growing pauses."),
    ("bad_encoding", "{saw}; the answer could not be unpacked as it was labelled.", "Retried; tell the vendor."),
    ("bad_json", "{saw}; the answer is not the JSON that it should be.", "Retried; tell the vendor if it lasts."),
    ("bad_xml", "{saw}; the answer is not the XML that it should be.", "Retried; tell the vendor if it lasts."),
    ("outage_page", "{saw}; a web page came where data should be.", "Retried; see the vendor's status page."),
    ("redirect_loop", "{saw}; redirects without an end.", "Retried; tell the vendor if it lasts."),
    ("job_failed", "{saw}; the vendor ended its export without a result.", "Retried with growing pauses."),
)
_CLIENT: Final = (
    ("bad_request", "{saw}; the vendor did not understand the request.", "Correct the vendor's definition."),
    ("invalid_parameter", "{saw}; a parameter of ours is not valid.", "Correct the vendor's definition."),
    ("not_found", "{saw}; no such thing at the vendor.", "Correct the path or drop the deleted object."),
    ("gone", "{saw}; it is no longer there.", "Correct the vendor's definition: the endpoint or object is gone."),
    ("conflict", "{saw}; it conflicts with another state or call.", "Retried; correct the definition if it lasts."),
    ("too_large", "{saw}; the request asks for or sends too much.", "Make pages or windows smaller."),
    ("unsupported", "{saw}; the vendor does not support this call.", "Correct the vendor's definition."),
    ("page_token_expired", "{saw}; the page token or cursor is no longer valid.", "Start over from the kept position."),
    ("bad_query", "{saw}; the vendor does not accept the query.", "Correct the query in the vendor's definition."),
    ("redirected", "{saw}; the vendor sends the call elsewhere.", "Correct the host in the definition or settings."),
    ("wrong_client", "{saw}; the vendor wants the call made in another way.", "Correct the headers or the protocol."),
    ("error_in_body", "{saw}; the body reports an error.", "Read the answer and correct the vendor's definition."),
    ("client_error", "{saw}; the vendor refuses the request.", "Read the answer and correct the vendor's definition."),
)
_TIMEOUT: Final = (
    (
        "budget_spent",
        "The run used up its time; {saw}.",
        "Lengthen the time allowed, or make the windows smaller.",
    ),
)
_INTERNAL: Final = (
    ("worker_lost", "The worker died before the run ended; {saw}.", "Started again; look at the worker's memory."),
    ("database", "Our database failed; {saw}.", "Look at PostgreSQL."),
    ("broker", "Our broker failed; {saw}.", "Look at Redis and Celery."),
    ("memory", "We ran out of memory; {saw}.", "Give the worker more memory, or make pages smaller."),
    ("resources", "Our machine ran out of disk, files or processes; {saw}.", "Look at the worker's machine."),
    ("proxy", "Our way out through the proxy failed; {saw}.", "Look at the egress proxy and its credentials."),
    ("egress", "Our way out to the internet is broken; {saw}.", "Look at the network of the workers."),
    ("vault", "Stored credentials could not be opened; {saw}.", "Look at the vault's keys."),
    ("bug", "Our code failed; {saw}.", "Read the trace and mend the code."),
    ("schema", "A sound answer did not fit our definition; {saw}.", "Correct the vendor's definition."),
    ("pagination", "Pages could not be followed to an end; {saw}.", "Correct the vendor's definition."),
    ("bad_url", "We built a URL or header that cannot be sent; {saw}.", "Correct the definition or the settings."),
    (
        "address_refused",
        "Our guard refused the address; {saw}.",
        "Check the host; allow it in the settings if it is right.",
    ),
    ("redirect_refused", "Our guard refused a redirect; {saw}.", "Check the host that the definition names."),
    (
        "body_too_large",
        "The answer is larger than we let in; {saw}.",
        "Make pages smaller in the definition, or raise the limit.",
    ),
    ("clock", "{saw}; our clock is off.", "Set the clock of the workers."),
    (
        "application",
        "The OAuth application that this service acts through cannot be used; {saw}.",
        "Register the application at the vendor and enter it in the settings.",
    ),
    ("definition", "The vendor's definition is not valid; {saw}.", "Correct the vendor's definition."),
    ("interrupted", "We stopped the work; {saw}.", "Nothing to do: it is started again."),
)


def _table() -> Mapping[str, Reason]:
    groups = (
        (HealthName.HEALTHY, _HEALTHY),
        (HealthName.UNAUTHORIZED, _UNAUTHORIZED),
        (HealthName.RATE_LIMIT_EXCEEDED, _RATE_LIMITED),
        (HealthName.VENDOR_SERVER_ERROR, _VENDOR),
        (HealthName.VENDOR_CLIENT_ERROR, _CLIENT),
        (HealthName.EXECUTION_TIMEOUT, _TIMEOUT),
        (HealthName.INTERNAL_ERROR, _INTERNAL),
    )
    return MappingProxyType(
        {
            id_: Reason(id=id_, name=name, sentence=sentence, next_step=step)
            for name, rows in groups
            for id_, sentence, step in rows
        }
    )


REASONS: Final[Mapping[str, Reason]] = _table()
"""Every reason, by id, grouped by health."""
