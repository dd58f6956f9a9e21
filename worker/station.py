"""What one process needs for its runs: the databases, the catalogue, the vault's keys, the way out, the lease."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from multiprocessing.sharedctypes import RawValue
from typing import Final
from uuid import UUID

from classifier.dialect import Dialect
from models import limits
from models.database import Database
from models.limits import Reservation
from models.vault import Keyring
from vendors.auth import token_urls
from vendors.catalogue import Catalogue
from vendors.connector import app_of
from vendors.credentials_schema import Prepared
from vendors.definition import Definition, LimitScope
from vendors.dialect_files import DIALECTS, load_dialects
from vendors.errors import VendorError
from vendors.requests_made import base_url_of
from worker.applications import Application, parse_applications
from worker.attendance import Attendance
from worker.errors import VaultNotConfiguredError
from worker.in_flight import InFlight
from worker.lease import Lease
from worker.settings import Settings
from worker.wire.budget import Budget
from worker.wire.canary import EgressCanary, parse_targets
from worker.wire.capture import Capture
from worker.wire.guard import AddressGuard, AddressPolicy
from worker.wire.limiter import Limiter, TokenPurse
from worker.wire.redactor import Redactor
from worker.wire.session import VendorSession
from worker.wire.transport import Transport

# Kept, so that no destructor of theirs ever runs in a child.
_LEFT_TO_THE_PARENT: Final[list[object]] = []


class Flag:
    """Like threading.Event, but one that children forked later see too, and that is never unset."""

    def __init__(self) -> None:
        self._value = RawValue("b", 0)

    def set(self) -> None:
        """Set it for good."""
        self._value.value = 1

    def is_set(self) -> bool:
        """Say whether it was set."""
        return bool(self._value.value)


@dataclass(frozen=True, slots=True)
class SharedLimits:
    """The limits in PostgreSQL, as `worker.wire.limiter.LimitStore`. Each call is a transaction of its own."""

    database: Database

    def reserve(self, scope_key: str, rates: Sequence[tuple[int, float]], want: int = 1, spare: int = 0) -> Reservation:
        """Take tokens out of every rate of the scope."""
        with self.database.transaction() as db:
            return limits.reserve(db, scope_key, rates, want, spare)

    def pause(self, scope_key: str, for_s: float) -> None:
        """Grant nothing in the scope for so long."""
        with self.database.transaction() as db:
            limits.pause(db, scope_key, for_s)


@dataclass(kw_only=True)
class Station:
    """One process's tools. Nothing here connects before it is used, so that it may be made before a fork."""

    settings: Settings
    lease: Lease
    in_flight: InFlight = field(default_factory=InFlight)
    attendance: Attendance = field(default_factory=Attendance)
    draining: Flag = field(default_factory=Flag)
    purse: TokenPurse = field(default_factory=TokenPurse)

    @classmethod
    def of(cls, settings: Settings) -> "Station":
        """Return a station for these settings. Connects to nothing."""
        return cls(settings=settings, lease=Lease(lease_s=settings.lease_s))

    def _database(self, max_size: int, name: str, *, durable: bool = True) -> Database:
        return Database(
            self.settings.database_url.get_secret_value(),
            max_size=max_size,
            application_name=f"connection-health {name}",
            durable=durable,
            by_index=True,
        )

    @cached_property
    def database(self) -> Database:
        """For runs."""
        return self._database(self.settings.database_pool, "runs")

    @cached_property
    def claims(self) -> Database:
        """For claims. One that a crash of the server takes back was never begun: its end finds no run."""
        return self._database(self.settings.database_pool, "claims", durable=False)

    @cached_property
    def control(self) -> Database:
        """For the lease, the dispatcher and the reaper: never behind runs that wait for a connection."""
        return self._database(4, "control")

    @cached_property
    def token_locks(self) -> Database:
        """For row locks that are held while a token endpoint answers."""
        return self._database(max(4, self.settings.concurrency // 4), "token locks")

    @cached_property
    def catalogue(self) -> Catalogue:
        """The vendors' definitions."""
        return Catalogue.with_operators_folder(self.settings.vendors_dir)

    @cached_property
    def dialects(self) -> Mapping[str, Dialect]:
        """The vendor families' own rules, by vendor name."""
        folder = self.settings.vendors_dir
        own = () if folder is None else (folder / "dialects",)
        return load_dialects(DIALECTS, *own)

    def dialect_of(self, vendor: str) -> Dialect | None:
        """Return the rules of the family that the vendor's definition names, else of the one that serves its name."""
        try:
            named = self.catalogue.get(vendor).dialect
        except VendorError:  # a definition that is gone or broken: the run says so, and is judged all the same
            named = None
        return self.dialects.get(named or vendor)

    @cached_property
    def keyring(self) -> Keyring:
        """The vault's keys. Raises VaultNotConfiguredError where none was given, KeyringError where one is none."""
        if self.settings.vault_keys is None:
            raise VaultNotConfiguredError
        return Keyring.parse(self.settings.vault_keys.get_secret_value())

    @cached_property
    def applications(self) -> Mapping[str, Application]:
        """The operator's own OAuth applications, by name."""
        text = self.settings.oauth_apps
        return {} if text is None else parse_applications(text.get_secret_value())

    def application(self, definition: Definition) -> Mapping[str, object]:
        """Return what the definition's `${app.…}` reads; nothing where the settings have no such application."""
        found = self.applications.get(app_of(definition))
        return {} if found is None else found.as_scope()

    @cached_property
    def transport(self) -> Transport:
        """The shared way out."""
        return Transport(
            ca_file=self.settings.ca_file,
            egress_proxy=self.settings.egress_proxy,
            connections_per_origin=self.settings.concurrency,
        )

    @cached_property
    def canary(self) -> EgressCanary:
        """Says whether our own way out works."""
        return EgressCanary(parse_targets(self.settings.egress_canaries))

    @cached_property
    def shared_limits(self) -> SharedLimits:
        """The vendors' limits, over all workers."""
        return SharedLimits(self.database)

    @cached_property
    def address_policy(self) -> AddressPolicy:
        """Which addresses vendors may have."""
        return AddressPolicy(allow_loopback=self.settings.allow_loopback_vendors)

    @cached_property
    def _limited_vendors(self) -> dict[str, int | None]:
        return {}

    def definition(self, vendor: str) -> Definition:
        """Return the vendor's definition; the first time, let the claims know how many runs it allows at a time."""
        found = self.catalogue.get(vendor)
        at_a_time = found.limits.concurrency if found.limits.scope is LimitScope.VENDOR else None
        if at_a_time is not None and self._limited_vendors.get(vendor) != at_a_time:
            with self.database.transaction() as db:
                limits.set_vendor_limits(db, {vendor: at_a_time})
            self._limited_vendors[vendor] = at_a_time
        return found

    def shares_its_limit(self, vendor: str) -> bool:
        """Say whether the vendor counts all our calls together, so that one connection's spent quota is everybody's."""
        return vendor in self.catalogue and self.catalogue.get(vendor).limits.scope is LimitScope.VENDOR

    def session(
        self,
        definition: Definition,
        prepared: Prepared,
        connection_id: UUID,
        *,
        budget: Budget,
        capture: Capture,
        redactor: Redactor,
        stop: Callable[[], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> VendorSession:
        """Return the way to one connection's vendor for one run. now: aware, UTC, as the database has it."""
        scope = {"credentials": prepared.credentials, "settings": prepared.settings}
        known_urls = (base_url_of(definition, scope), *token_urls(definition.auth, scope))
        return VendorSession(
            budget=budget,
            capture=capture,
            redactor=redactor,
            guard=AddressGuard(known_urls, policy=self.address_policy),
            transport=self.transport,
            limiter=self._limiter(definition, connection_id, now),
            dialect=self.dialect_of(definition.vendor),
            stop=stop,
            now=now,
            canary=self.canary,
        )

    def _limiter(self, definition: Definition, connection_id: UUID, now: Callable[[], datetime]) -> Limiter | None:
        asked = definition.limits
        if not asked.rates and asked.remaining_header is None:
            return None
        whole = asked.scope is LimitScope.VENDOR
        scope_key = definition.vendor if whole else f"{definition.vendor}/{connection_id}"
        return Limiter(self.shared_limits, scope_key, asked, purse=self.purse, now=now)

    def warm_up(self) -> None:
        """Load what every run needs. The first runs would else wait for it together, each out of its own budget."""
        self.catalogue.prepare()
        _ = self.dialects, self.transport

    def after_fork(self) -> None:
        """Begin anew in a forked child: an identity, a lease and connections of its own, and no runs.

        What the parent opened is let go of and not closed: closing would end the parent's connections too.
        """
        for name in ("database", "claims", "control", "token_locks", "transport", "shared_limits"):
            opened = self.__dict__.pop(name, None)
            if opened is not None:
                _LEFT_TO_THE_PARENT.append(opened)
        if "catalogue" in self.__dict__:
            self.catalogue.after_fork()
        self.lease = Lease(lease_s=self.settings.lease_s)
        self.in_flight, self.attendance = InFlight(), Attendance()
        self.purse = TokenPurse()

    def close(self) -> None:
        """Close what was opened."""
        self.__dict__.pop("shared_limits", None)
        for name in ("database", "claims", "control", "token_locks", "transport"):
            opened = self.__dict__.pop(name, None)
            if opened is not None:
                opened.close()
