"""Machine codes that mean the same at every vendor that uses them, as data: looked up before any words are read.

Keys are compared without case, punctuation and a closing `Exception`, `Error` or `Fault`. A weak code says no more than
the status beside it (`forbidden`), so words that are exact beat it. Codes not listed are read as words (`phrases`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRule:
    """Codes of one meaning. weak: words and headers that are exact are asked first."""

    id: str
    reason: str
    codes: tuple[str, ...]
    source: str
    weak: bool = False


_OAUTH: Final = "RFC 6749 section 5.2; RFC 6750 section 3.1; OpenID Connect Core section 3.1.2.6"
_AWS: Final = "https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html"
_S3: Final = "https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"
_GOOGLE: Final = "https://cloud.google.com/apis/design/errors; google.rpc.Code"
_MICROSOFT: Final = "https://learn.microsoft.com/en-us/graph/errors"
_GRAPHQL: Final = "https://www.apollographql.com/docs/apollo-server/data/errors"
_COMMON: Final = "the same word at many vendors"


def _code(id_: str, reason: str, source: str, codes: str, *, weak: bool = False) -> CodeRule:
    return CodeRule(id=f"code.{id_}", reason=reason, codes=tuple(codes.split()), source=source, weak=weak)


CODES: Final[tuple[CodeRule, ...]] = (
    # Throttling.
    _code(
        "aws_throttle",
        "rate_limit",
        _AWS,
        "Throttling ThrottlingException ThrottledException RequestThrottled RequestThrottledException "
        "RequestLimitExceeded TooManyRequestsException SlowDown BandwidthLimitExceeded EC2ThrottledException "
        "ProvisionedThroughputExceededException TransactionInProgressException PriorRequestNotComplete",
    ),
    _code(
        "google_throttle",
        "rate_limit",
        _GOOGLE,
        "rateLimitExceeded userRateLimitExceeded RATE_LIMIT_EXCEEDED concurrentLimitExceeded "
        "userRateLimitExceededUnreg rateLimitExceededUnreg variableTermLimitExceeded",
    ),
    _code("google_quota", "quota", _GOOGLE, "quotaExceeded RESOURCE_EXHAUSTED insufficientQuota QUOTA_EXCEEDED"),
    _code("daily", "quota_daily", _GOOGLE, "dailyLimitExceeded dailyLimitExceededUnreg"),
    _code(
        "microsoft_throttle",
        "rate_limit",
        _MICROSOFT,
        "activityLimitReached TooManyRequests ApplicationThrottled ResourceRequestsThrottled RequestThrottled "
        "OperationThrottled ServerBusyThrottled ErrorTooManyObjectsOpened MailboxConcurrency ApplicationConcurrency "
        "SubscriptionRequestsThrottled ErrorServerBusy ErrorExceededConnectionCount",
    ),
    _code(
        "throttle",
        "rate_limit",
        _COMMON,
        "rate_limited ratelimited rate_limit rate_limit_error rate_limit_reached rate_limit_exceeded "
        "throttled throttle "
        "over_rate_limit limit_requests requests_limit_exceeded too_many_requests REQUEST_LIMIT_EXCEEDED "
        "over_query_limit "
        "api_limit_exceeded apiLimitReached calls_limit_exceeded max_requests rate_exceeded over_limit "
        "EXCEEDED_RATE_LIMIT exceed_rate_limit qps_limit_exceeded",
    ),
    _code("oauth_slow_down", "rate_limit", "RFC 8628 section 3.5", "slow_down"),
    # Credentials.
    _code("oauth_grant", "grant_invalid", _OAUTH, "invalid_grant invalid_code bad_verification_code bad_refresh_token"),
    _code(
        "oauth_client",
        "client_invalid",
        _OAUTH,
        "invalid_client unauthorized_client InvalidClientIdentifier "
        "invalid_application_id invalid_app_id invalid_client_id",
    ),
    _code("oauth_token", "token_invalid", _OAUTH, "invalid_token invalidAuthenticationToken token_not_valid bad_token"),
    _code(
        "oauth_scope",
        "scope_missing",
        _OAUTH,
        "insufficient_scope invalid_scope missing_scope MISSING_SCOPES insufficientScopes insufficient_scopes "
        "ACCESS_TOKEN_SCOPE_INSUFFICIENT scope_not_granted invalid_scopes scopes_missing",
    ),
    _code(
        "oauth_consent",
        "consent_required",
        _OAUTH,
        "consent_required interaction_required login_required account_selection_required admin_consent_required",
    ),
    _code("oauth_mfa", "mfa_required", _OAUTH, "mfa_required otp_required two_factor_required 2fa_required"),
    _code(
        "aws_key",
        "credentials_invalid",
        _AWS,
        "InvalidClientTokenId UnrecognizedClientException InvalidAccessKeyId IncompleteSignature "
        "MissingAuthenticationToken AuthFailure InvalidIdentityToken IDPRejectedClaim",
    ),
    _code("aws_signature", "signature_invalid", _AWS, "SignatureDoesNotMatch InvalidSignatureException"),
    _code(
        "aws_expired",
        "token_expired",
        _AWS,
        "ExpiredToken ExpiredTokenException TokenRefreshRequired RequestExpiredToken",
    ),
    _code(
        "aws_denied",
        "permission_missing",
        _AWS,
        "UnauthorizedOperation UnauthorizedAccess AllAccessDisabled KMSAccessDeniedException",
    ),
    _code(
        "aws_account",
        "account_disabled",
        _AWS,
        "AccountProblem NotSignedUp Blocked PendingVerification InvalidPayer RegionDisabledException",
    ),
    _code(
        "aws_opt_in",
        "feature_disabled",
        _AWS,
        "OptInRequired SubscriptionRequiredException InvalidAccessException AccountNotSubscribed",
    ),
    _code(
        "google_disabled",
        "feature_disabled",
        _GOOGLE,
        "SERVICE_DISABLED accessNotConfigured API_DISABLED serviceDisabled API_KEY_SERVICE_BLOCKED",
    ),
    _code("google_billing", "payment_required", _GOOGLE, "BILLING_DISABLED billingNotEnabled"),
    _code(
        "google_key",
        "credentials_invalid",
        _GOOGLE,
        "API_KEY_INVALID keyInvalid API_KEY_EXPIRED keyExpired authError CREDENTIALS_MISSING ACCOUNT_STATE_INVALID "
        "API_KEY_HTTP_REFERRER_BLOCKED ACCESS_TOKEN_TYPE_UNSUPPORTED",
    ),
    _code("google_ip", "ip_not_allowed", _GOOGLE, "API_KEY_IP_ADDRESS_BLOCKED ipRefererBlocked"),
    _code("google_expired", "token_expired", _GOOGLE, "ACCESS_TOKEN_EXPIRED SESSION_COOKIE_EXPIRED"),
    _code("google_permission", "permission_missing", _GOOGLE, "insufficientPermissions IAM_PERMISSION_DENIED"),
    _code(
        "microsoft_permission",
        "permission_missing",
        _MICROSOFT,
        "Authorization_RequestDenied Authorization_IdentityNotFound "
        "AuthorizationFailed ErrorAccessDenied LinkedAuthorizationFailed",
    ),
    _code("microsoft_licence", "licence", _MICROSOFT, "Authentication_RequestFromNonPremiumTenantOrB2CTenant"),
    _code(
        "microsoft_token",
        "token_expired",
        _MICROSOFT,
        "ExpiredAuthenticationToken TokenExpired CompactTokenExpired AuthenticationExpiredToken Lifetime",
    ),
    _code(
        "microsoft_tenant",
        "tenant_unknown",
        _MICROSOFT,
        "InvalidAuthenticationTokenTenant SubscriptionNotFoundForTenant Request_ResourceNotFoundTenant",
    ),
    _code("graphql_auth", "credentials_invalid", _GRAPHQL, "UNAUTHENTICATED"),
    _code(
        "token_expired",
        "token_expired",
        _COMMON,
        "token_expired expired_token access_token_expired expired_access_token expired_auth EXPIRED_AUTHENTICATION "
        "session_expired jwt_expired key_expired apikey_expired credentials_expired auth_token_expired "
        "authentication_expired oauth_token_expired INVALID_SESSION_ID SESSION_NOT_VALID invalid_session "
        "password_expired",
    ),
    _code(
        "token_revoked",
        "token_revoked",
        _COMMON,
        "token_revoked revoked_token access_revoked authorization_revoked app_uninstalled not_installed "
        "token_deleted key_revoked",
    ),
    _code(
        "token_invalid",
        "token_invalid",
        _COMMON,
        "invalid_auth not_authed invalid_api_key invalid_apikey bad_api_key invalid_access_token "
        "invalid_key wrong_token "
        "invalid_auth_token token_invalid INVALID_AUTHENTICATION invalid_authentication invalid_authorization "
        "missing_auth missing_token missing_api_key no_auth auth_required authentication_required "
        "missing_authorization no_authorization apikey_invalid INVALID_TOKEN auth_token_invalid invalid_auth_header "
        "invalid_api_token api_token_invalid",
    ),
    _code(
        "credentials",
        "credentials_invalid",
        _COMMON,
        "invalid_credentials bad_credentials invalid_login invalid_username_or_password invalid_password "
        "wrong_password "
        "login_failed authentication_failed authentication_failure auth_failed authfailed "
        "invalid_user_credentials incorrect_credentials bad_login failed_login INVALID_LOGIN unknown_api_key "
        "invalid_account",
    ),
    _code(
        "account",
        "account_disabled",
        _COMMON,
        "account_inactive account_suspended account_disabled account_deactivated user_suspended user_disabled "
        "user_deactivated user_inactive user_deleted org_disabled organization_disabled inactive_account "
        "team_access_not_granted org_deactivated tenant_disabled application_disabled app_disabled client_disabled "
        "account_closed account_expired user_removed_from_team user_is_deactivated CUSTOMER_NOT_ENABLED",
    ),
    _code(
        "locked", "account_locked", _COMMON, "account_locked user_locked captcha_required CAPTCHA_CHALLENGE locked_out"
    ),
    _code(
        "permission",
        "permission_missing",
        _COMMON,
        "insufficient_permission insufficient_permissions no_permission not_allowed_token_type missing_permission "
        "missing_permissions INSUFFICIENT_ACCESS insufficient_privileges INSUFFICIENT_ACCESS_OR_READONLY "
        "user_not_admin "
        "permission_required permissions_error requires_permission ekm_access_denied team_access_denied "
        "not_permitted lack_of_permission USER_PERMISSION_DENIED INSUFFICIENT_RIGHTS not_in_channel "
        "INVALID_SUBSCRIBER_PERMISSION role_required access_not_allowed",
    ),
    _code("org_login", "login_page", _COMMON, "org_login_required sso_required saml_required"),
    _code(
        "licence",
        "licence",
        _COMMON,
        "insufficient_entitlement not_entitled paid_only paid_teams_only plan_upgrade_required upgrade_required_plan "
        "subscription_required license_required license_expired trial_expired plan_limit plan_required "
        "plan_not_supported feature_not_in_plan premium_required not_licensed enterprise_is_restricted "
        "LICENSE_NOT_FOUND function_access_restricted subscription_expired subscription_inactive",
    ),
    _code(
        "feature",
        "feature_disabled",
        _COMMON,
        "feature_not_enabled feature_disabled PRODUCT_NOT_ENABLED API_DISABLED_FOR_ORG API_CURRENTLY_DISABLED "
        "not_enabled app_forbidden DisabledFeature api_access_disabled api_not_enabled module_not_enabled",
    ),
    _code(
        "ip", "ip_not_allowed", _COMMON, "ip_not_allowed ip_denied ip_restricted invalid_ip ip_blocked not_allowed_ip"
    ),
    _code(
        "payment",
        "payment_required",
        _COMMON,
        "payment_required billing_hard_limit account_past_due insufficient_credits",
    ),
    # The vendor's own faults.
    _code(
        "oauth_fault",
        "server_error",
        _OAUTH,
        "server_error internal_failure internal_error InternalError internalServerError backendError InternalFailure "
        "InternalServerException InternalServiceError ServiceFailure INTERNAL INTERNAL_SERVER_ERROR fatal_error "
        "system_error ServiceException INTERNAL_ERROR internal_exception",
    ),
    _code(
        "unavailable",
        "unavailable",
        _OAUTH,
        "temporarily_unavailable service_unavailable ServiceUnavailable ServiceUnavailableException UNAVAILABLE "
        "serviceNotAvailable SERVER_UNAVAILABLE temporary_error transient_error",
    ),
    _code("overloaded", "overloaded", _COMMON, "overloaded overloaded_error server_busy ServerBusy ServerTooBusy"),
    _code("maintenance", "maintenance", _COMMON, "maintenance under_maintenance maintenance_mode readonly_mode"),
    _code(
        "timeout",
        "vendor_timeout",
        _GOOGLE,
        "DEADLINE_EXCEEDED RequestTimeout RequestTimeoutException gateway_timeout QUERY_TIMEOUT OperationTimedOut",
    ),
    # Our own requests.
    _code("clock", "clock", _S3, "RequestTimeTooSkewed RequestInTheFuture invalid_timestamp timestamp_refused"),
    _code("dpop", "wrong_client", "RFC 9449", "use_dpop_nonce invalid_dpop_proof"),
    _code(
        "page_token",
        "page_token_expired",
        _COMMON,
        "invalid_cursor cursor_expired CursorExpiredError invalid_page_token InvalidNextToken "
        "InvalidNextTokenException "
        "ExpiredNextToken ExpiredNextTokenException InvalidPaginationToken invalidPageToken updatedMinTooLongAgo "
        "fullSyncRequired syncStateNotFound syncStateInvalid resyncRequired INVALID_QUERY_LOCATOR badResumptionToken "
        "ExpiredIteratorException",
    ),
    _code("no_records", "no_data", "OAI-PMH 2.0, section 3.6", "noRecordsMatch"),
    _code("cas_ticket", "token_invalid", "CAS protocol 3.0, section 2.5.3", "INVALID_TICKET INVALID_TICKET_SPEC"),
    _code(
        "graphql_query",
        "bad_query",
        _GRAPHQL,
        "BAD_USER_INPUT GRAPHQL_VALIDATION_FAILED GRAPHQL_PARSE_FAILED PERSISTED_QUERY_NOT_FOUND undefinedField "
        "argumentLiteralsIncompatible INVALID_FIELD INVALID_TYPE MALFORMED_QUERY NONEXISTENT_FIELD "
        "missingRequiredArguments "
        "OPERATION_RESOLUTION_FAILURE INVALID_QUERY_FILTER_OPERATOR invalidQuery UNRECOGNIZED_FIELD ODataError",
    ),
    _code(
        "json_rpc",
        "bad_request",
        "https://www.jsonrpc.org/specification#error_object",
        "-32700 -32600 -32601 -32602",
        weak=True,
    ),
    _code("json_rpc_fault", "server_error", "https://www.jsonrpc.org/specification#error_object", "-32603"),
    _code(
        "oauth_request",
        "bad_request",
        _OAUTH,
        "unsupported_grant_type unsupported_response_type invalid_target invalid_redirect_uri request_not_supported",
    ),
    _code(
        "parameter",
        "invalid_parameter",
        _COMMON,
        "InvalidParameter InvalidParameterValue InvalidParameterException MissingParameter invalid_parameter "
        "parameter_invalid parameter_missing invalid_data "
        "missing_parameter invalid_param invalid_params invalid_field_value FIELD_VALIDATION_FAILED "
        "limit_required invalid_arguments invalid_arg_name RequiredFieldMissing parameterRequired "
        "MissingParameterValue",
    ),
    _code(
        "missing",
        "not_found",
        _COMMON,
        "ResourceNotFoundException NoSuchKey NoSuchBucket NoSuchEntity UnknownResourceFault QueueDoesNotExist "
        "channel_not_found resource_not_found ResourceNotFound ItemNotFound ErrorItemNotFound NoSuchUpload "
        "ErrorNonExistentMailbox "
        "Request_ResourceNotFound object_not_found user_not_found project_not_found MethodNotFound invalid_endpoint",
    ),
    _code("size", "too_large", _COMMON, "EntityTooLarge request_too_large payload_too_large ResponseSizeTooLarge"),
    # Weak: no more than a status says.
    _code(
        "weak_credentials",
        "unauthorized",
        _COMMON,
        "unauthorized unauthorised not_authorized not_authorised unauthenticated not_authenticated "
        "UnauthorizedException "
        "authorization_error invalid_request_unauthorized authentication authorization",
        weak=True,
    ),
    _code(
        "weak_permission",
        "permission_missing",
        _COMMON,
        "forbidden PERMISSION_DENIED access_denied AccessForbidden ForbiddenException permission_error no_access "
        "not_allowed restricted denied AccessDeniedException",
        weak=True,
    ),
    _code(
        "weak_request",
        "bad_request",
        _COMMON,
        "bad_request invalid_request INVALID_ARGUMENT BadRequestException invalid_request_error badRequest invalid "
        "validation_error VALIDATION_FAILED invalid_input InvalidRequestException FAILED_PRECONDITION OUT_OF_RANGE "
        "invalid_body unprocessable_entity invalid_format json_error client_error ClientException USER_ERROR",
        weak=True,
    ),
    _code("weak_missing", "not_found", _COMMON, "not_found notFound NotFoundException missing", weak=True),
    _code("weak_conflict", "conflict", _COMMON, "conflict already_exists ABORTED ConflictException", weak=True),
    _code(
        "weak_method",
        "unsupported",
        _COMMON,
        "method_not_allowed not_implemented UNIMPLEMENTED unsupported MethodNotAllowed unknown_method "
        "method_not_supported",
        weak=True,
    ),
    _code("weak_fault", "server_error", _COMMON, "unknown UNKNOWN_ERROR unexpected_error DATA_LOSS", weak=True),
)


_ENDINGS: Final = ("exception", "error", "fault")


@lru_cache(maxsize=4096)
def squashed(code: str) -> str:
    """Return a code as it is compared: the part after a namespace, letters and digits in lower case, without `Error`.

    `com.amazonaws.dynamodb#ThrottlingException:http://…` and `throttling` are alike. Reads its first 120 characters.
    """
    short = code[:120]
    if "#" in short:
        short = short.rsplit("#", 1)[1]
    short = short.split(":", 1)[0] if ":" in short and "://" in short else short
    short = short.split("/", 1)[0] if "/" in short else short
    key = "".join([letter for letter in short.lower() if letter.isalnum()])
    if short.startswith("-"):
        return f"-{key}"
    for ending in _ENDINGS:
        if key.endswith(ending) and len(key) >= len(ending) + 8:  # `server` and `api` alone would say too much
            return key[: -len(ending)]
    return key


def _index() -> Mapping[str, CodeRule]:
    index: dict[str, CodeRule] = {}
    for rule in CODES:
        for code in rule.codes:
            index.setdefault(squashed(code), rule)
    return MappingProxyType(index)


BY_CODE: Final[Mapping[str, CodeRule]] = _index()
"""Every listed code as it is compared; where two rules list one, the stronger and earlier holds."""

_WRITTEN_BY: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        _AWS: ("aws", "amazon"),
        _S3: ("aws", "amazon"),
        _GOOGLE: ("google", "bigquery", "youtube"),
        _MICROSOFT: ("microsoft", "azure", "bing", "office", "sharepoint"),
    }
)
"""Sources of general rules that are one vendor's documentation: how the names of that vendor's products begin."""


def learned_from(vendor: str) -> frozenset[str]:
    """Return the ids of the general rules that rest on this vendor's own documentation."""
    name = vendor.lower()
    return frozenset(
        rule.id for rule in CODES if rule.source in _WRITTEN_BY and name.startswith(_WRITTEN_BY[rule.source])
    )
