"""Records that look like a vendor's, the same ones each time: record number i is a function of i alone."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

Maker = Callable[[int], Mapping[str, object]]

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
FIRST_NAMES = ("Ada", "Bram", "Chidi", "Dana", "Emre", "Freya", "Goran", "Hana", "Ines", "Jonas", "Kaia", "Luis")
LAST_NAMES = ("Abara", "Berg", "Costa", "Duval", "Ek", "Farkas", "Gruber", "Haddad", "Ito", "Jansen", "Kovac")
SEVERITIES = ("low", "medium", "high", "critical")
SYSTEMS = ("Debian 13", "macOS 16", "Windows 11", "Ubuntu 26.04")


def moment(i: int) -> str:
    """Return the time at which record i was last changed: a minute apart, ISO 8601."""
    return (EPOCH + timedelta(minutes=i)).isoformat().replace("+00:00", "Z")


def user(i: int) -> Mapping[str, object]:
    """Return a person's account in an identity provider."""
    first, last = FIRST_NAMES[i % len(FIRST_NAMES)], LAST_NAMES[i % len(LAST_NAMES)]
    return {
        "id": f"usr-{i:06d}",
        "email": f"{first}.{last}.{i}@customer.example".lower(),
        "name": {"given": first, "family": last},
        "status": "suspended" if i % 17 == 0 else "active",
        "mfa": i % 5 != 0,
        "updated_at": moment(i),
    }


def group(i: int) -> Mapping[str, object]:
    """Return a group of accounts."""
    return {"id": f"grp-{i:04d}", "name": f"Team {i}", "members": (i * 7) % 40, "updated_at": moment(i)}


def device(i: int) -> Mapping[str, object]:
    """Return a managed device."""
    return {"id": f"dev-{i:06d}", "hostname": f"host-{i:05d}", "os": SYSTEMS[i % len(SYSTEMS)], "last_seen": moment(i)}


def alert(i: int) -> Mapping[str, object]:
    """Return an alert on a device."""
    return {
        "id": f"alt-{i:06d}",
        "severity": SEVERITIES[i % len(SEVERITIES)],
        "device_id": f"dev-{i % 300:06d}",
        "title": f"Suspicious process #{i % 40}",
        "updated_at": moment(i),
    }


def ticket(i: int) -> Mapping[str, object]:
    """Return a ticket."""
    return {"key": f"TCK-{i}", "summary": f"Ticket number {i}", "open": i % 3 != 0, "updated_at": moment(i)}


def finding(i: int) -> Mapping[str, object]:
    """Return a finding of a cloud scanner."""
    return {
        "id": f"fnd-{i:06d}",
        "severity": SEVERITIES[(i * 3) % len(SEVERITIES)],
        "asset_id": f"ast-{i % 500:06d}",
        "rule": f"CIS {1 + i % 5}.{1 + i % 9}",
        "updated_at": moment(i),
    }


def asset(i: int) -> Mapping[str, object]:
    """Return a cloud asset."""
    return {
        "id": f"ast-{i:06d}",
        "kind": ("vm", "bucket", "role")[i % 3],
        "region": f"region-{i % 4}",
        "tags": [f"t{i % 7}"],
    }


def event(i: int) -> Mapping[str, object]:
    """Return an entry of an audit log; times in epoch milliseconds."""
    at_ms = int((EPOCH + timedelta(minutes=i)).timestamp() * 1000)
    return {
        "event_id": f"evt-{i:08d}",
        "actor": f"usr-{i % 900:06d}",
        "action": f"action.{i % 12}",
        "occurred_at": at_ms,
    }


def employee(i: int) -> Mapping[str, object]:
    """Return an employee."""
    return {"id": f"emp-{i:05d}", "name": f"{FIRST_NAMES[i % 12]} {LAST_NAMES[i % 11]}", "department": f"D{i % 9}"}


def contact(i: int) -> Mapping[str, object]:
    """Return a contact of a customer relations system."""
    return {
        "id": i,
        "company": f"Company {i % 60}",
        "email": f"contact{i}@company{i % 60}.example",
        "updated_at": moment(i),
    }


def mailbox(i: int) -> Mapping[str, object]:
    """Return a mailbox."""
    return {"id": f"mbx-{i:05d}", "address": f"box{i}@customer.example", "messages": (i * 31) % 5000}
