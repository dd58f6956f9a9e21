"""The words of a verdict: seven healths, who must act on each, and how they are described on the wire."""

from enum import StrEnum
from typing import Final


class HealthName(StrEnum):
    """What a run's outcome means. The names are on the wire and never change."""

    HEALTHY = "HEALTHY"
    EXECUTION_TIMEOUT = "EXECUTION_TIMEOUT"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    VENDOR_CLIENT_ERROR = "VENDOR_CLIENT_ERROR"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    VENDOR_SERVER_ERROR = "VENDOR_SERVER_ERROR"
    UNAUTHORIZED = "UNAUTHORIZED"


class HealthStatus(StrEnum):
    """Whether the connection works."""

    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"


class ResolutionOwner(StrEnum):
    """Who must act. LEEN is the wire's word for the operator of this software."""

    LEEN = "LEEN"
    VENDOR = "VENDOR"
    CUSTOMER = "CUSTOMER"


class Phase(StrEnum):
    """What an exchange was for: getting a token, reading data, or testing the credentials."""

    TOKEN = "token"  # noqa: S105 - a phase, no secret
    DATA = "data"
    TEST = "test"


OWNER: Final = {
    HealthName.HEALTHY: ResolutionOwner.LEEN,
    HealthName.EXECUTION_TIMEOUT: ResolutionOwner.LEEN,
    HealthName.RATE_LIMIT_EXCEEDED: ResolutionOwner.LEEN,
    HealthName.VENDOR_CLIENT_ERROR: ResolutionOwner.LEEN,
    HealthName.INTERNAL_ERROR: ResolutionOwner.LEEN,
    HealthName.VENDOR_SERVER_ERROR: ResolutionOwner.VENDOR,
    HealthName.UNAUTHORIZED: ResolutionOwner.CUSTOMER,
}

DESCRIPTION: Final = {
    HealthName.HEALTHY: "Connection is healthy",
    HealthName.EXECUTION_TIMEOUT: "Execution timeout",
    HealthName.RATE_LIMIT_EXCEEDED: "Rate limit exceeded",
    HealthName.VENDOR_CLIENT_ERROR: "Vendor returned a 4xx client error",
    HealthName.INTERNAL_ERROR: "Internal error",
    HealthName.VENDOR_SERVER_ERROR: "Vendor returned a 5xx server error",
    HealthName.UNAUTHORIZED: "Connection is unauthorized",
}


def status_of(name: HealthName) -> HealthStatus:
    """Return HEALTHY for HEALTHY and UNHEALTHY for every other name."""
    return HealthStatus.HEALTHY if name is HealthName.HEALTHY else HealthStatus.UNHEALTHY
