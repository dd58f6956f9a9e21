"""What is ours: the vault's keys, the vendors' definitions, and the access that customers granted us."""

from datetime import UTC, datetime, timedelta
from typing import Final

from models import authorizations, checks, vault
from models.authorizations import Lapsing
from models.errors import VaultError
from vendors.errors import VendorError
from worker.checks.finding import Bench, Finding, counted, failed, lasting, ok, warning

AHEAD_DAYS: Final = 7
"""As long as a link is good that is sent today. `connections lapsing` looks as far ahead as one likes."""

_NAMED: Final = 3
_LISTED: Final = 10


def vault_key(bench: Bench) -> Finding:
    """Look whether the keys open what is stored: one row of each key that is in use."""
    keyring = bench.station.keyring
    with bench.database() as db:
        used = checks.keys_in_use(db)
    values = {
        "newest": keyring.newest.key_id,
        "in_use": [{"key_id": each.key_id, "rows": each.count} for each in used],
    }
    for each in used:
        if keyring.find(each.key_id) is None:
            return failed(
                f"{counted(each.count, 'row')} sealed with the key {each.key_id}, which is not there",
                "put that key back into the file of keys, below the newest: without it these credentials are lost",
                **values,
            )
        try:
            vault.unseal(keyring, each.connection_id, each.kind, each.key_id, each.sealed)
        except VaultError as error:
            return failed(
                str(error).partition(":")[0], str(error).partition(": ")[2] or "see docs/operations.md", **values
            )
    older = [each for each in used if each.key_id != keyring.newest.key_id]
    if older:
        return warning(
            f"{counted(sum(each.count for each in older), 'row')} still sealed with an older key",
            "`connection-health vault rotate` seals them with the newest; keep the older keys until then",
            **values,
        )
    if not used:
        return ok(f"key {keyring.newest.key_id}; nothing is stored yet", **values)
    return ok(f"key {keyring.newest.key_id} opens what is stored", **values)


def definitions(bench: Bench) -> Finding:
    """Look whether every definition and every dialect loads."""
    catalogue = bench.station.catalogue
    fatal = [finding for finding in catalogue.problems if finding.fatal]
    values = {"vendors": len(catalogue.vendors), "faults": [str(finding) for finding in fatal]}
    if fatal:
        more = f" and {len(fatal) - 1} more" if len(fatal) > 1 else ""
        return warning(
            f"{fatal[0]}{more}", "mend it (`connection-health vendors check FILE`), and restart the workers", **values
        )
    dialects = len(bench.station.dialects)
    return ok(f"{len(catalogue.vendors)} vendors and {dialects} dialects load", **values, dialects=dialects)


def vendors_in_use(bench: Bench) -> Finding:
    """Look whether every vendor with active connections has a definition that loads."""
    with bench.database() as db:
        used = checks.vendors_in_use(db)
    broken = [vendor for vendor in used if not _loads(bench, vendor)]
    values = {"in_use": used, "broken": broken}
    if broken:
        named = ", ".join(broken[:_NAMED]) + (", …" if len(broken) > _NAMED else "")
        return failed(
            f"no definition that loads for {named}",
            "their connections read INTERNAL_ERROR: put the file back into CONNECTION_HEALTH_VENDORS_DIR, or mend it",
            **values,
        )
    return ok(f"{counted(len(used), 'vendor')} in use, each with its definition", **values)


def _loads(bench: Bench, vendor: str) -> bool:
    try:
        bench.station.catalogue.get(vendor)
    except VendorError:
        return False
    return True


def lapsing(bench: Bench) -> Finding:
    """Look whose access ends soon unless a person renews it. What has ended is told by the health of its connection."""
    with bench.database() as db:
        found = authorizations.list_lapsing(db, within=timedelta(days=AHEAD_DAYS), is_ahead=True, limit=checks.COUNTED)
    now = datetime.fromtimestamp(bench.now_s(), UTC)
    values = {
        "within_days": AHEAD_DAYS,
        "lapsing": len(found),
        "nearest": [
            {"connection_id": str(each.connection_id), "vendor": each.vendor, "lapses_at": each.lapses_at.isoformat()}
            for each in found[:_LISTED]
        ],
    }
    if not found:
        return ok(f"no access is known to end within {AHEAD_DAYS} days", **values)
    named = ", ".join(_ending(each, now) for each in found[:_NAMED]) + (", …" if len(found) > _NAMED else "")
    verb = "loses" if len(found) == 1 else "lose"
    return warning(
        f"{counted(len(found), 'connection')} {verb} access within {AHEAD_DAYS} days: {named}",
        "send each customer the link that `connection-health connections authorize ID` prints, or ask for new "
        f"credentials (`connections update ID`); `connections lapsing --within {AHEAD_DAYS}d` lists them",
        **values,
    )


def _ending(each: Lapsing, now: datetime) -> str:
    left_s = max(0.0, (each.lapses_at - now).total_seconds())
    return f"{each.connection_id} ({each.vendor}) in {lasting(left_s)}"
