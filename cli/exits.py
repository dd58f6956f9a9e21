"""How the command ends. The numbers are documented and never change their meaning."""

from enum import IntEnum

from classifier.vocabulary import HealthName, ResolutionOwner


class Exit(IntEnum):
    """Exit codes."""

    OK = 0
    OURS = 1
    """Our fault: a database that does not answer, a wrong vault key, a bug."""
    USAGE = 2
    """The command or the settings cannot be understood."""
    NOT_FOUND = 3
    REFUSED = 4
    """Understood and not done: credentials that the vendor did not take, a definition with faults, no confirmation."""
    NOT_PASSED = 5
    """A check did not pass: something is not well (`doctor`), a past verdict would be another (`rules replay`), too few
    are right (`classify`)."""
    CUSTOMER_MUST_ACT = 10
    VENDOR_MUST_ACT = 11
    PLATFORM_MUST_ACT = 12
    WAIT_TIMED_OUT = 124
    """As of the command `timeout`."""
    INTERRUPTED = 130
    """As of a shell: 128 and the number of SIGINT."""


def exit_of(name: HealthName | None, owner: ResolutionOwner | None) -> Exit:
    """Return the code for a connection's health; one that has none yet is no failure."""
    if name is None or name is HealthName.HEALTHY:
        return Exit.OK
    return {
        ResolutionOwner.CUSTOMER: Exit.CUSTOMER_MUST_ACT,
        ResolutionOwner.VENDOR: Exit.VENDOR_MUST_ACT,
    }.get(owner or ResolutionOwner.LEEN, Exit.PLATFORM_MUST_ACT)
