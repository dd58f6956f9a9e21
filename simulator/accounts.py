"""What a vendor keeps of one customer: the secret that is good, what it may read, the quota that is left."""

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Account:
    """One customer's account at one vendor. Times are those of the vendors' clock, in seconds.

    generation: of the secret that is good now, counted from 1; totals: how many records each collection holds;
    tokens: access tokens that were given out, with the time at which each expires; refresh: number of the refresh
    token that is good now; exports: polls so far of each asynchronous export.
    """

    name: str
    generation: int = 1
    enabled: bool = True
    scopes: set[str] = field(default_factory=set)
    totals: dict[str, int] = field(default_factory=dict)
    quota: int = 600
    quota_used: int = 0
    quota_resets_at_s: float = 0.0
    tokens: dict[str, float] = field(default_factory=dict)
    tokens_made: int = 0
    refresh: int = 1
    revoked: bool = False
    exports: dict[str, int] = field(default_factory=dict)

    def state(self) -> dict[str, object]:
        """Return what the control interface shows of it: no secret."""
        return {
            "generation": self.generation,
            "enabled": self.enabled,
            "scopes": sorted(self.scopes),
            "totals": dict(self.totals),
            "quota": self.quota,
            "quota_used": self.quota_used,
            "tokens_made": self.tokens_made,
            "refresh": self.refresh,
            "revoked": self.revoked,
        }
