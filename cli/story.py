"""The story that the demo tells: what goes wrong at each simulated vendor, the health that must show, what heals it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from uuid import UUID

from classifier.vocabulary import HealthName
from models.connections import ConnectionView
from simulator.control import World

SHOWN_S: Final = 4.0
"""How long a trouble stays on the board before it is healed, so that a person can read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What the acts play on. replace_credentials: what a customer does on our side, for one connection."""

    world: World
    replace_credentials: Callable[[UUID, Mapping[str, object]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One connection's part. account: at the vendor; starts_at_s: after the connections were all healthy.

    break_: what goes wrong at the vendor, None: nothing; heal: what its owner does about it, None: it heals by itself.
    """

    title: str
    vendor: str
    account: str
    trouble: str = ""
    remedy: str = ""
    expected: HealthName | None = None
    starts_at_s: float = 0.0
    timeout_secs: int = 6
    break_: Callable[[Stage], None] | None = None
    heal: Callable[[Stage, UUID], None] | None = None


class Scene(StrEnum):
    """How far an act has come."""

    WAITING = "waiting"
    BROKEN = "broken"
    SHOWN = "shown"
    HEALED = "healed"
    OVER = "over"


@dataclass(slots=True)
class Part:
    """An act as it is played on one connection. Times: monotonic seconds."""

    act: Act
    connection_id: UUID
    scene: Scene = Scene.WAITING
    broken_at_s: float = 0.0
    seen_at_s: float = 0.0
    over_at_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A health that was seen for the first time. after_s: since the story began; proof: what it rests on."""

    name: HealthName
    after_s: float
    view: ConnectionView
    proof: str


def _fault(vendor: str, kind: str, **how: object) -> Callable[[Stage], None]:
    def break_(stage: Stage) -> None:
        stage.world.set_fault({"vendor": vendor, "kind": kind, **how})

    return break_


def _clear(vendor: str) -> Callable[[Stage, UUID], None]:
    def heal(stage: Stage, _connection_id: UUID) -> None:
        stage.world.clear_faults(vendor=vendor)

    return heal


def _at_vendor(vendor: str, account: str, action: str, **how: object) -> Callable[[Stage], None]:
    def break_(stage: Stage) -> None:
        stage.world.act(vendor, account, action, how)

    return break_


def _grant(stage: Stage, _connection_id: UUID) -> None:
    stage.world.act("cedar_cloud", "north", "grant", {"scopes": ["findings.read"]})


def _new_token(stage: Stage, connection_id: UUID) -> None:
    credentials = stage.world.act("acme_idp", "north", "credentials", {})["credentials"]
    if isinstance(credentials, Mapping):
        stage.replace_credentials(connection_id, credentials)


ACTS: Final[Sequence[Act]] = (
    Act(
        title="Acme Identity",
        vendor="acme_idp",
        account="north",
        trouble="its token expires",
        remedy="the customer hands in a new token",
        expected=HealthName.UNAUTHORIZED,
        break_=_at_vendor("acme_idp", "north", "expire_token"),
        heal=_new_token,
    ),
    Act(
        title="Granite Endpoint",
        vendor="granite_edr",
        account="north",
        trouble="the vendor goes down",
        remedy="the vendor comes back",
        expected=HealthName.VENDOR_SERVER_ERROR,
        starts_at_s=1.0,
        break_=_fault("granite_edr", "unavailable"),
        heal=_clear("granite_edr"),
    ),
    Act(
        title="Pebble Tickets",
        vendor="pebble_tickets",
        account="north",
        trouble="its quota is spent",
        remedy="the quota fills up by itself",
        expected=HealthName.RATE_LIMIT_EXCEEDED,
        starts_at_s=2.0,
        break_=_at_vendor("pebble_tickets", "north", "spend_quota", for_s=25),
    ),
    Act(
        title="Cedar Cloud Posture",
        vendor="cedar_cloud",
        account="north",
        trouble="one data type loses its permission",
        remedy="the customer grants it again",
        expected=HealthName.UNAUTHORIZED,
        starts_at_s=3.0,
        break_=_at_vendor("cedar_cloud", "north", "revoke", scopes=["findings.read"]),
        heal=_grant,
    ),
    Act(
        title="Glacier Logs",
        vendor="glacier_logs",
        account="north",
        trouble="its answers drip until our time is up",
        remedy="the vendor is fast again",
        expected=HealthName.EXECUTION_TIMEOUT,
        starts_at_s=4.0,
        timeout_secs=3,
        break_=_fault("glacier_logs", "drip"),
        heal=_clear("glacier_logs"),
    ),
    Act(
        title="Quartz Scanner",
        vendor="quartz_scanner",
        account="north",
        trouble="an endpoint that we call is retired",
        remedy="we call the right one again",
        expected=HealthName.VENDOR_CLIENT_ERROR,
        starts_at_s=5.0,
        break_=_fault("quartz_scanner", "gone", path="/v2/assets"),
        heal=_clear("quartz_scanner"),
    ),
    Act(
        title="Origami People",
        vendor="origami_hr",
        account="north",
        trouble="a well-formed answer has a shape that we cannot read",
        remedy="we can read it again",
        expected=HealthName.INTERNAL_ERROR,
        starts_at_s=6.0,
        break_=_fault("origami_hr", "odd_shape", path="/employees"),
        heal=_clear("origami_hr"),
    ),
    Act(title="Steady Assets", vendor="steady_assets", account="north", timeout_secs=20),
    Act(title="Harbor CRM", vendor="harbor_crm", account="north", timeout_secs=20),
    Act(title="Tidal Mail", vendor="tidal_mail", account="north", timeout_secs=20),
    Act(title="Quarry Audit", vendor="quarry_audit", account="north", timeout_secs=20),
)


@dataclass(slots=True)
class Story:
    """Plays the acts, driven by what the healths are. It waits for nothing: `go_on` is called again and again."""

    stage: Stage
    parts: Sequence[Part]
    tell: Callable[[str], None]
    prove: Callable[[ConnectionView], str]
    began_s: float = field(default_factory=time.monotonic)
    seen: dict[HealthName, Sighting] = field(default_factory=dict)
    opened_at_s: float | None = None

    def go_on(self, views: Mapping[UUID, ConnectionView]) -> None:
        """Look at the healths, and let happen what comes next."""
        now_s = time.monotonic()
        self._notice(views, now_s)
        if self.opened_at_s is None:
            if not all(_is_healthy(views.get(part.connection_id)) for part in self.parts):
                return
            self.opened_at_s = now_s
            self.tell("every connection is healthy; now things go wrong")
        for part in self.parts:
            self._play(part, views.get(part.connection_id), now_s)

    @property
    def is_over(self) -> bool:
        """Whether every act was played to its end: what was broken has been seen, healed, and is healthy again."""
        return self.opened_at_s is not None and all(part.scene is Scene.OVER for part in self.parts)

    @property
    def missing(self) -> list[HealthName]:
        """The healths that were not seen yet."""
        return [name for name in HealthName if name not in self.seen]

    def again(self) -> None:
        """Begin anew with the connections as they are."""
        self.opened_at_s = None
        for part in self.parts:
            part.scene = Scene.WAITING

    def _notice(self, views: Mapping[UUID, ConnectionView], now_s: float) -> None:
        for view in views.values():
            health = view.health
            if health is not None and health.name not in self.seen:
                after_s = now_s - self.began_s
                proof = self.prove(view)
                self.seen[health.name] = Sighting(name=health.name, after_s=after_s, view=view, proof=proof)

    def _play(self, part: Part, view: ConnectionView | None, now_s: float) -> None:
        act = part.act
        match part.scene:
            case Scene.WAITING if act.break_ is None:
                part.scene = Scene.OVER
            case Scene.WAITING if now_s - (self.opened_at_s or now_s) >= act.starts_at_s:
                if act.break_ is not None:
                    act.break_(self.stage)
                part.scene, part.broken_at_s = Scene.BROKEN, now_s
                self.tell(f"{act.title}: {act.trouble}")
            case Scene.BROKEN if view is not None and view.health is not None and view.health.name is act.expected:
                part.scene, part.seen_at_s = Scene.SHOWN, now_s
            case Scene.SHOWN if now_s - part.seen_at_s >= SHOWN_S:
                part.scene = Scene.HEALED
                self.tell(f"{act.title}: {act.remedy}")
                if act.heal is not None:
                    act.heal(self.stage, part.connection_id)
            case Scene.HEALED if _is_healthy(view):
                part.scene, part.over_at_s = Scene.OVER, now_s


def _is_healthy(view: ConnectionView | None) -> bool:
    return view is not None and view.health is not None and view.health.name is HealthName.HEALTHY
